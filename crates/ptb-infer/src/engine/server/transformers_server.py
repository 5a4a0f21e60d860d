"""`transformers serve`, on a Unix socket, with a completions route that takes what this project sends.

usage: transformers_server.py SOCKET PROGRAM ARGUMENT...

The server's own route takes a prompt as text alone and adds special tokens to it, knows no top_k, min_p or
repetition_penalty, takes no temperature where the model's file says not to sample, and seeds one generator
that concurrent requests share. The route below takes token ids, exactly the sampling that was asked for,
and seeds right before it generates, one request at a time.
"""

import runpy
import sys

from transformers.utils.import_utils import is_serve_available

if not is_serve_available():
    raise ImportError("transformers lacks what it serves with: pip install 'transformers[serving]'")

import torch
import uvicorn
from fastapi import HTTPException
from fastapi.responses import JSONResponse
from transformers import GenerationConfig
from transformers.cli.serving.completion import CompletionHandler

SOCKET, PROGRAM = sys.argv[1:3]
KNOWN = {
    "prompt", "max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "stop",
    "ignore_eos", "model", "add_special_tokens", "return_token_ids",
}
configure = uvicorn.Config.__init__


def configure_socket(self, app, *args, **kwargs):
    kwargs.pop("host", None)
    kwargs.pop("port", None)
    configure(self, app, *args, uds=SOCKET, access_log=False, **kwargs)


def check(condition, text):
    if not condition:
        raise HTTPException(status_code=400, detail=text)


def number(body, key, default, low, high, kind=float):
    value = body.get(key)
    if value is None:
        return default
    check(isinstance(value, (int, float)) and not isinstance(value, bool), f"`{key}` must be a number")
    check(low <= value <= high, f"`{key}` must be from {low} to {high}")
    return kind(value)


def prompt_ids(body, tokenizer, model):
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        add = body.get("add_special_tokens") is not False
        prompt = tokenizer(prompt, add_special_tokens=add)["input_ids"]
    size = model.get_input_embeddings().weight.shape[0]
    fine = isinstance(prompt, list) and all(type(i) is int and 0 <= i < size for i in prompt)
    check(fine, f"`prompt` must be a text or a list of token ids below {size}")
    check(prompt, "the prompt is empty")
    return prompt


def ends_of(model):
    """The model's own ends. The rest of its generation_config.json is for requests to say, not for defaults."""
    if not hasattr(model, "own_ends"):
        ends = model.generation_config.eos_token_id
        model.own_ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
        model.generation_config = GenerationConfig()
    return model.own_ends


def generation(body, model, length):
    temperature = number(body, "temperature", 1.0, 0, 1e6)
    stop = body.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    check(isinstance(stop, list) and all(isinstance(s, str) and s for s in stop), "`stop` must hold texts")
    ends = ends_of(model)
    config = GenerationConfig(
        max_new_tokens=number(body, "max_tokens", 16, 1, 1 << 24, int),
        do_sample=temperature > 0,
        repetition_penalty=number(body, "repetition_penalty", 1.0, 1e-6, 1e6),
        pad_token_id=ends[0] if ends else 0,
        # A list that no token is in never ends a text.
        eos_token_id=[-1] if body.get("ignore_eos") else ends or [-1],
    )
    if temperature > 0:
        config.temperature = temperature
        config.top_p = number(body, "top_p", 1.0, 1e-9, 1)
        config.top_k = max(number(body, "top_k", 0, -1, 1 << 24, int), 0)
        config.min_p = number(body, "min_p", 0.0, 0, 1) or None
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    needed = length + config.max_new_tokens
    check(limit is None or needed <= limit, f"the request needs {needed} positions, the model has {limit}")
    return config, stop


def generate(model, tokenizer, ids, config, stop, seed):
    if seed is not None:
        torch.manual_seed(seed)
    inputs = torch.tensor([ids], device=model.device)
    extra = {"stop_strings": stop, "tokenizer": tokenizer} if stop else {}
    mask = torch.ones_like(inputs)
    out = model.generate(inputs, attention_mask=mask, generation_config=config, **extra)
    return out[0, len(ids):].tolist()


def not_finite(said):
    """Whether these are torch.multinomial's words for weights that give no finite numbers. A GPU's are those of
    an assertion in its kernel; ids and positions, the other things that one checks, are checked above."""
    return "inf" in said and "nan" in said or "device-side assert triggered" in said


def cut(text, stop):
    found = [at for at in (text.find(s) for s in stop) if at >= 0]
    return (text[: min(found)], True) if found else (text, False)


async def answer(self, body, request_id):
    check(isinstance(body, dict), "the body must be an object")
    check(set(body) <= KNOWN, f"unknown fields: {sorted(set(body) - KNOWN)}")
    _, model, processor = self._resolve_model({"model": body.get("model")})
    tokenizer = getattr(processor, "tokenizer", processor)
    ids = prompt_ids(body, tokenizer, model)
    config, stop = generation(body, model, len(ids))
    seed = body.get("seed")
    check(seed is None or type(seed) is int and 0 <= seed < 1 << 63, "`seed` must be a whole number")
    manager = self.generation_state.get_manager(body.get("model") or "model")
    try:
        new = await manager.async_submit(generate, model, tokenizer, ids, config, stop, seed)
    except RuntimeError as error:
        if not_finite(str(error)):
            fault = {"type": "model_fault", "message": str(error)}
            return JSONResponse({"error": fault}, status_code=500)
        raise
    text, stopped = cut(tokenizer.decode(new, skip_special_tokens=True), stop)
    ended = stopped or (bool(new) and new[-1] in config.eos_token_id)
    choice = {
        "index": 0, "text": text, "finish_reason": "stop" if ended else "length", "token_ids": new,
    }
    usage = {
        "prompt_tokens": len(ids), "completion_tokens": len(new), "total_tokens": len(ids) + len(new),
    }
    return JSONResponse({"id": request_id, "object": "text_completion", "choices": [choice], "usage": usage})


uvicorn.Config.__init__ = configure_socket
CompletionHandler.handle_request = answer
sys.argv = sys.argv[2:]
runpy.run_path(PROGRAM, run_name="__main__")
