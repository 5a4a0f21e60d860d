#!/bin/sh
# Measures ptb-sft beside PyTorch: the same model, batch, optimiser and number of threads, in turns.
# Needs a Python with torch and transformers, named by PTB_PYTHON. Further arguments go to bench_training.py.
set -eu
cd "$(dirname "$0")/.."
: "${PTB_PYTHON:?name a Python with torch and transformers}"
cargo build --release -p ptb-sft
"$PTB_PYTHON" scripts/bench_training.py --program "${CARGO_TARGET_DIR:-target}/release/ptb-sft" \
    --model models/tiny-base "$@"
