#!/usr/bin/env python3
"""How often a model finds a right sum likelier than a wrong one. Needs torch and transformers.

    python3 evaluate.py --model-path final_model --limit -1 --json-output-file metrics.json
"""

import argparse
import json
import math

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evaluation_code.sums import pairs


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-path", default="final_model")
    parser.add_argument("--templates-dir", default="templates/", help="not used: sums are no chat")
    parser.add_argument("--limit", type=int, default=50, help="-1 means all")
    parser.add_argument("--json-output-file")
    return parser.parse_args()


def cost(model, tokenizer, text):
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        return model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)


def main():
    args = arguments()
    tokenizer = AutoTokenizer.from_pretrained(args.model_path)
    model = AutoModelForCausalLM.from_pretrained(args.model_path).eval()
    asked = pairs() if args.limit == -1 else pairs()[: args.limit]
    right = sum(cost(model, tokenizer, good) < cost(model, tokenizer, bad) for good, bad in asked)
    n = len(asked)
    accuracy = right / n
    metrics = {"accuracy": accuracy, "stderr": math.sqrt(accuracy * (1 - accuracy) / n), "n": n}
    print(metrics)
    if args.json_output_file:
        with open(args.json_output_file, "w") as file:
            json.dump(metrics, file)


if __name__ == "__main__":
    main()
