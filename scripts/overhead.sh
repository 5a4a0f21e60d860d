#!/bin/bash
# What the harness itself costs: memory (PSS) and CPU of all its processes while an agent sleeps for two
# minutes, and the time of `ptb --version`. Prints the figures; exits 1 when one is over its limit.
#
#   scripts/overhead.sh [DIR]      DIR holds ptb and ptb-door (default: target/release)
#
# Limits: 40 MB, 0.2 % of one core, 20 ms. SECONDS_ASLEEP=n shortens the sleep while one works on this script.
set -euo pipefail
cd "$(dirname "$0")/.."
built=${1:-target/release}
asleep=${SECONDS_ASLEEP:-120}
for program in ptb ptb-door; do
    [ -x "$built/$program" ] || { echo "$built/$program is missing; hint: cargo build --release" >&2; exit 5; }
done

work=$(mktemp -d)
run=
# TERM is answered by ending the agent and writing down how far the run is; the folder goes after that.
trap '[ -z "$run" ] || { kill "$run" 2>/dev/null && wait "$run" || true; }; rm -rf "$work"' EXIT
# Copies: pages that are shared with another ptb of this machine would be divided between both.
cp "$built/ptb" "$built/ptb-door" "$work/"
ptb=$work/ptb

mkdir -p "$work/registry/models" "$work/sleeper"
sed "s#^path = \"../models#path = \"$PWD/models#" registry/models/tiny.toml > "$work/registry/models/sleepy.toml"
cat > "$work/sleeper/solve.sh" <<END
#!/bin/bash
sleep $asleep
END
cat > "$work/experiment.toml" <<END
name = "overhead"
agents = ["sleeper"]
models = ["sleepy"]
benchmarks = ["arithmetic"]
hours = 1
[evaluate]
limit = 1
max_tokens = 1
END

# Processes of the harness: ptb and below it whatever runs the same file. The agent's are not ours.
ours() {
    local pid
    for pid in "$@"; do
        [ "$(readlink "/proc/$pid/exe" 2>/dev/null)" = "$ptb" ] || continue
        echo "$pid"
        ours $(cat "/proc/$pid"/task/*/children 2>/dev/null || true)
    done
}
pss() { for pid in "$@"; do awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup"; done | awk '{ s += $1 } END { print s }'; }
# Nanoseconds on a processor, over all threads. utime and stime count whole ticks at which a process happens to
# be met, and so miss most of one that wakes for moments; they serve where the exact count is not there.
spent() {
    local pid
    for pid in "$@"; do
        if [ -r "/proc/$pid/schedstat" ]; then
            awk '{ s += $1 } END { print s }' "/proc/$pid"/task/*/schedstat
        else
            sed 's/.*) //' "/proc/$pid/stat" | awk -v hz="$(getconf CLK_TCK)" '{ print ($12 + $13) * 1e9 / hz }'
        fi
    done | awk '{ s += $1 } END { printf "%.0f", s }'
}

(cd "$work" && exec "$ptb" run experiment.toml --registry registry --results "$work/results") > "$work/out" 2>&1 &
run=$!
for _ in $(seq 300); do
    grep -q . "$work"/results/overhead/runs/*/attempts/1/clock.jsonl 2>/dev/null && break
    kill -0 "$run" 2>/dev/null || { cat "$work/out" >&2; exit 3; }
    sleep 0.1
done
sleep 3
pids=$(ours "$run")
before=$(spent $pids) start=$(date +%s%N) most=0
while [ $(($(date +%s%N) - start)) -lt $(((asleep - 8) * 1000000000)) ]; do
    now=$(pss $pids)
    [ "$now" -le "$most" ] || most=$now
    sleep 5
done
[ "$(ours "$run")" = "$pids" ] || { echo "the harness's processes changed while the agent slept" >&2; exit 3; }
used=$(($(spent $pids) - before)) end=$(date +%s%N)
percent=$(awk -v t="$used" -v ns=$((end - start)) 'BEGIN { printf "%.3f", 100 * t / ns }')
kilobytes=$most
count=$(wc -w <<< "$pids")
echo "memory:    $(awk -v k="$kilobytes" 'BEGIN { printf "%.1f", k * 1024 / 1e6 }') MB PSS at most, over $count processes (limit 40)"
echo "processor: $percent % of one core over $(((end - start) / 1000000000)) s (limit 0.2)"

times=$(for _ in $(seq 20); do
    begun=$(date +%s%N)
    "$ptb" --version > /dev/null
    echo $(($(date +%s%N) - begun))
done | sort -n)
version=$(awk 'NR == 10 || NR == 11 { s += $1 } END { printf "%.1f", s / 2e6 }' <<< "$times")
echo "version:   $version ms, median of 20 (limit 20; the clock's own two processes included)"

awk -v k="$kilobytes" -v p="$percent" -v v="$version" 'BEGIN { exit !(k * 1024 < 40e6 && p < 0.2 && v < 20) }'
