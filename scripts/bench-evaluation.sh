#!/usr/bin/env bash
# Measures what an evaluation costs beside the model, next to Inspect AI on the same questions and the same server.
# Needs a Python with inspect_ai, named by PTB_PYTHON, and GSM8K's files (test.jsonl, train.jsonl), named by GSM8K.
# Further arguments go to bench_evaluation.py.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PTB_PYTHON:?name a Python with inspect_ai}" "${GSM8K:?name the folder with test.jsonl and train.jsonl of GSM8K}"
cargo build --quiet --release --package ptb
cargo build --quiet --release --package ptb-eval --example answering_server
target="${CARGO_TARGET_DIR:-target}/release"
exec "$PTB_PYTHON" scripts/bench_evaluation.py --ptb "$target/ptb" --server "$target/examples/answering_server" \
    --gsm8k "$GSM8K" "$@"
