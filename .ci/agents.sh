#!/usr/bin/env bash
# Installs the four command-line agents in the versions that the registry names: about 40 s and 1.2 GB, once.
# `target/ci-agents` is what PTB_CACHE is elsewhere; `target/ci-agents/all` has all of them on one PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --quiet --package ptb
bin=target/ci-agents/all/node_modules/.bin
mkdir -p "$bin"
for agent in claude codex gemini opencode; do
    PTB_CACHE="$PWD/target/ci-agents" target/debug/ptb install "$agent" | while read -r id _ folder; do
        for program in "$id" node; do
            ln -sfn "$folder/node_modules/.bin/$program" "$bin/$program"
        done
    done
done
ls "$bin"
