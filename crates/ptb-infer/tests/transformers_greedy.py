"""transformers_greedy.py MODEL PROMPT...: the 64 likeliest next tokens of each as JSON, f32, end-of-text ignored."""

import json
import sys

import torch
import transformers

transformers.logging.set_verbosity_error()
path, *prompts = sys.argv[1:]
tokenizer = transformers.AutoTokenizer.from_pretrained(path)
model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def continued(prompt):
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    assert ids[0].tolist() == list(prompt.encode()), "a byte-level tokenizer gives the bytes"
    with torch.inference_mode():
        for _ in range(64):
            logits = model(ids).logits[0, -1]
            ids = torch.cat([ids, logits.argmax().view(1, 1)], dim=1)
    return ids[0, -64:].tolist()


json.dump([continued(prompt) for prompt in prompts], sys.stdout)
