#!/bin/sh
# The quick start's claims over five seeds: `sft` with seeds 0 to 4 beside the baselines, and with a learning rate
# of 0. Ends with code 1 where one does not hold. Takes about five minutes; results go to DIR (a new folder).
#   scripts/five-seeds.sh [DIR]
set -eu
cd "$(dirname "$0")/.."
root=$PWD
dir=${1:-$(mktemp -d)}
cargo build --release -p ptb -p ptb-door -p ptb-sft
mkdir -p "$dir/registry/agents"
agents='"base", "few-shot", "instruct", "sft-still"'
agent() { # NAME FLAGS
    printf 'name = "%s"\ncommand = ["sh", "-c", "ptb-sft solve %s"]\n' "$1" "$2" > "$dir/registry/agents/$1.toml"
}
agent sft-still "--lr 0 --steps 5"
for seed in 0 1 2 3 4; do
    agent "sft-$seed" "--seed $seed"
    agents="$agents, \"sft-$seed\""
done
printf 'agents = [%s]\nmodels = ["tiny"]\nbenchmarks = ["arithmetic"]\nhours = 0.025\n' "$agents" > "$dir/seeds.toml"
ptb="${CARGO_TARGET_DIR:-$root/target}/release/ptb"
cd "$dir"
"$ptb" run seeds.toml
"$ptb" report results/seeds --format csv | awk -F, '
    { print }
    NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
    { score[$column["agent"]] = $column["average"]; low[$column["agent"]] = $column["low"]; high[$column["agent"]] = $column["high"] }
    function must(claim, holds) { print (holds ? "holds: " : "DOES NOT HOLD: ") claim; if (!holds) failed = 1 }
    END {
        must("base zero-shot is below 15 %", score["base"] < 0.15)
        must("instruct is above the base", low["instruct"] > high["base"])
        must("without a learning rate sft is the base", score["sft-still"] == score["base"])
        for (seed = 0; seed < 5; seed++) {
            name = "sft-" seed
            must(name " is 30 points above the base, intervals apart", score[name] >= score["base"] + 0.3 && low[name] > high["base"])
        }
        exit failed
    }'
