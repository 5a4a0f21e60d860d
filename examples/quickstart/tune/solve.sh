#!/bin/bash
# A script as an agent. It does not train: it tries sampling settings on the base model and keeps the best.
set -eu
bash timer.sh
best=-1
for temperature in 0.0 0.7 1.0; do
    rm -rf candidate
    cp -rL "$PTB_BASE_MODEL" candidate
    printf '{"do_sample": true, "temperature": %s, "top_p": 0.95}\n' "$temperature" > candidate/generation_config.json
    ptb-door evaluate --model-path candidate --limit 20 --json-output-file result.json
    score=$(sed -n 's/.*"accuracy": *\([0-9.e-]*\).*/\1/p' result.json | head -1)
    echo "temperature $temperature: accuracy $score"
    if awk -v a="$score" -v b="$best" 'BEGIN { exit !(a > b) }'; then
        best=$score
        rm -rf final_model
        mv candidate final_model
    fi
done
bash timer.sh
