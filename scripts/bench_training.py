"""Seconds of a training step in ptb-sft beside PyTorch's: same weights, batch, AdamW and threads.

Called by bench-training.sh. Both sides train all parameters on one batch of BATCH texts of TOKENS bytes, again
and again, clipping at norm 1 and at a constant learning rate; the losses after the last step must agree, so both
did the same work. PyTorch runs transformers' own model, once with each of its attentions, and the faster counts.
A side's figure is the time of its later steps (loading and the first steps cancel out); the best of the rounds
counts, the sides taking turns, so that a busy machine harms both alike.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

RATE = 1e-3
FIRST = 5


def texts(batch, tokens):
    draw = random.Random(1)
    return ["".join(draw.choice("0123456789 +-=abcdefgh") for _ in range(tokens)) for _ in range(batch)]


def ours(options, home, threads):
    """Seconds per step and the last loss of ptb-sft."""
    data = os.path.join(home, "data.jsonl")
    rows = texts(options.batch, options.tokens)
    with open(data, "w") as file:
        file.writelines(json.dumps({"text": row}) + "\n" for row in rows)
    ends = []
    for steps in (FIRST, FIRST + options.steps):
        command = [options.program, "--base", options.model, "--data", data]
        command += ["--out", os.path.join(home, "out"), "--steps", str(steps), "--threads", str(threads)]
        command += ["--lr", str(RATE), "--warmup", "0", "--lr-floor", "1", "--json", "--no-door"]
        command += ["--batch-tokens", str(options.batch * options.tokens)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        ends.append(json.loads(output.splitlines()[-1]))
    return (ends[1]["seconds"] - ends[0]["seconds"]) / options.steps, ends[1]["loss"]


def theirs(options, threads, attention):
    """The same of transformers' model, in a process of its own so that its threads are its own."""
    command = [sys.executable, __file__, "--torch", attention, "--threads", str(threads)]
    for name in ("program", "model", "batch", "tokens", "steps"):
        command += [f"--{name}", str(getattr(options, name))]
    return tuple(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def torch_side(options):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(options.threads)
    model = AutoModelForCausalLM.from_pretrained(
        options.model, dtype=torch.float32, attn_implementation=options.torch
    )
    model.train()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    rows = [tokenizer(row, add_special_tokens=False).input_ids + [end] for row in texts(options.batch, options.tokens)]
    rows = torch.tensor(rows)
    ids, targets = rows[:, :-1].contiguous(), rows[:, 1:].flatten()
    # What ptb-sft decays: projections, not norms and embeddings.
    plain = lambda name: "norm" in name or "embed" in name
    decayed = [p for name, p in model.named_parameters() if not plain(name)]
    others = [p for name, p in model.named_parameters() if plain(name)]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.999), fused=True)
    start = None
    for step in range(FIRST + options.steps):
        if step == FIRST:
            start = time.perf_counter()
        logits = model(input_ids=ids, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    print(json.dumps([(time.perf_counter() - start) / options.steps, loss.item()]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=36)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count()])
    parser.add_argument("--torch", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.torch:
        options.threads = options.threads[0]
        return torch_side(options)
    print(f"{options.batch} x {options.tokens} tokens, AdamW, {FIRST + options.steps} steps, {options.rounds} rounds")
    with tempfile.TemporaryDirectory() as home:
        for threads in sorted(set(options.threads)):
            compare(options, home, threads)


def compare(options, home, threads):
    sides = {"ptb-sft": lambda: ours(options, home, threads)}
    for attention in ("sdpa", "eager"):
        sides[f"torch {attention}"] = lambda attention=attention: theirs(options, threads, attention)
    results = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, side in sides.items():
            results[name].append(side())
    best = {name: min(rounds)[0] for name, rounds in results.items()}
    for name, rounds in results.items():
        print(f"{threads} threads  {name:12}  {1e3 * best[name]:7.1f} ms a step  loss {rounds[0][1]:.5f}")
    losses = [rounds[0][1] for rounds in results.values()]
    if max(losses) - min(losses) > 0.01 * max(losses):
        sys.exit(f"the losses differ: {losses}")
    torch = min(seconds for name, seconds in best.items() if name != "ptb-sft")
    print(f"{threads} threads  PyTorch takes {torch / best['ptb-sft']:.2f} times as long")


if __name__ == "__main__":
    main()
