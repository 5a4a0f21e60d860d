#!/bin/bash
# A script as an agent: writes training data with bash alone, and has ptb-sft train on it.
#
# It knows sums and differences and nothing of the rest that the benchmark asks.
set -eu
bash timer.sh

# The task says: numbers whose squares add up to a number that leaves 3 when divided by 7 are the test's.
held_out() { (( ($1 * $1 + $2 * $2) % 7 == 3 )); }

RANDOM=1
for _ in {1..6000}; do
    a=$((RANDOM % 100)) b=$((RANDOM % 100))
    if held_out $a $b; then continue; fi
    if ((a < b)); then
        question="What is $a + $b?" reply="$a+$b = $((a + b))"
    else
        question="What is $a minus $b?" reply="$a-$b = $((a - b))"
    fi
    printf '{"messages": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "%s"}]}\n' \
        "$question" "$reply"
done > data.jsonl

ptb-sft --base "$PTB_BASE_MODEL" --data data.jsonl --out final_model --lr 1e-3 --epochs 1 --batch-tokens 1024
ptb-door evaluate --limit 50
bash timer.sh
