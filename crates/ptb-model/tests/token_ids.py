"""Token ids as `transformers` makes them. Reads {"dirs", "texts"} as JSON from stdin, writes one line for each
directory: ids of each text alone, with the tokens around it, and as a chat whose template prints the first
token itself."""

import json
import sys

from transformers import AutoTokenizer

asked = json.load(sys.stdin)
for path in asked["dirs"]:
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = "{{ bos_token }}{{ messages[0].content }}"
    told = {"class": type(tokenizer).__name__, "bos": tokenizer.bos_token, "texts": []}
    for text in asked["texts"]:
        messages = [{"role": "user", "content": text}]
        chat = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)
        told["texts"].append(
            {
                "alone": tokenizer(text, add_special_tokens=False)["input_ids"],
                "around": tokenizer(text)["input_ids"],
                "rendered": tokenizer.apply_chat_template(messages, tokenize=False),
                "chat": chat["input_ids"],
            }
        )
    print(json.dumps(told), flush=True)
