"""transformers_logits.py LENGTH...: for each line `NEW DIRECTORY` on standard input, a model's logits and texts as JSON.

For each length, the prompt is bytes drawn by a rule that the tests have as well. Of it: the last position's logits in
f32, and the NEW likeliest next tokens, each computed from the whole text anew.
"""

import json
import sys

import torch
import transformers

transformers.logging.set_verbosity_error()
torch.set_num_threads(1)
lengths = [int(length) for length in sys.argv[1:]]


def prompt(length):
    return [(i * i * 31 + i * 7 + length) % 251 for i in range(length)]


def answers(new, path):
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    out = []
    with torch.inference_mode():
        for length in lengths:
            ids = torch.tensor([prompt(length)])
            first = None
            for _ in range(new):
                logits = model(input_ids=ids).logits[0, -1]
                first = logits if first is None else first
                ids = torch.cat([ids, logits.argmax().view(1, 1)], dim=1)
            out.append({"logits": first.tolist(), "tokens": ids[0, length:].tolist()})
    return out


asked = [line.strip().split(" ", 1) for line in sys.stdin]
json.dump([answers(int(new), path) for new, path in asked], sys.stdout)
