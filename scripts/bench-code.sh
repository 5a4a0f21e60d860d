#!/bin/sh
# Runs HumanEval's 164 reference solutions through our pool and through Inspect's local sandbox, in one go,
# and prints the ratio. Needs PTB_SHARED, and in PTB_INSPECT_PYTHON a Python with inspect-ai and inspect-evals.
# Fails when the pool is less than five times as fast.
set -eu
cd "$(dirname "$0")/.."
: "${PTB_SHARED:?name the directory with data/humaneval}"
: "${PTB_INSPECT_PYTHON:?name a Python with inspect-ai and inspect-evals}"
data=$PTB_SHARED/data/humaneval/HumanEval.jsonl
cargo build --release -p ptb-code --example humaneval
"$PTB_INSPECT_PYTHON" scripts/bench_code.py --data "$data" \
    --program "${CARGO_TARGET_DIR:-target}/release/examples/humaneval" "$@"
