#!/bin/sh
# Measures the built-in engine beside Python transformers on the ~1M and 150M shapes, and the main job.
# Needs a Python with torch and transformers, named by PTB_PYTHON. Further arguments go to bench_engine.py.
set -eu
cd "$(dirname "$0")/.."
: "${PTB_PYTHON:?name a Python with torch and transformers}"
cargo build --release -p ptb-infer --example serve_model
cargo build --release -p ptb-model --example random_model
target=${CARGO_TARGET_DIR:-target}/release/examples
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"$target/random_model" "$home/small" tiny 1
"$target/random_model" "$home/large" m150 1
"$PTB_PYTHON" scripts/bench_engine.py --program "$target/serve_model" \
    --small "$home/small" --large "$home/large" "$@"
