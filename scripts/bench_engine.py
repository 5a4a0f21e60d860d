"""Tokens per second of the built-in engine beside Python transformers: same weights, prompts, threads.

Called by bench-engine.sh. Both sides answer N prompts of 32 tokens with 64 greedy tokens, end-of-text
ignored; the time is that of the whole call, prompts included. Each number is the best of several rounds,
the two sides taking turns, so that a busy machine harms both alike.
"""

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

PROMPT = 32
NEW = 64


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Server:
    """The built-in engine in a process of its own."""

    def __init__(self, program, model, threads):
        self.home = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.home.name, "api.sock")
        command = [program, "serve-model", model, "--socket", self.path, "--life-line"]
        self.process = subprocess.Popen(command + ["--threads", str(threads)], stdin=subprocess.PIPE)
        while True:
            if self.process.poll() is not None:
                sys.exit("the server ended")
            try:
                self.call("GET", "/health")
                return
            except OSError:
                time.sleep(0.02)

    def call(self, method, route, body=None):
        connection = UnixConnection(self.path)
        connection.request(method, route, json.dumps(body) if body else None)
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status} {text[:300]}")
        return json.loads(text)

    def complete(self, prompt, new=NEW, **more):
        body = {"prompt": prompt, "max_tokens": new, "temperature": 0, "ignore_eos": True}
        return self.call("POST", "/v1/completions", {**body, "return_token_ids": True, **more})

    def batch(self, prompts):
        """Seconds and tokens; connections are open and bodies written out before the clock starts."""
        waiting = []
        for prompt in prompts:
            body = {"prompt": prompt, "max_tokens": NEW, "temperature": 0, "ignore_eos": True}
            body = json.dumps({**body, "return_token_ids": True}).encode()
            head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            request = head + b"content-length: %d\r\n\r\n" % len(body) + body
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self.path)
            waiting.append((connection, request))
        start = time.perf_counter()
        for connection, request in waiting:
            connection.sendall(request)
        answers = [connection.makefile("rb").read() for connection, _ in waiting]
        seconds = time.perf_counter() - start
        bodies = [json.loads(answer.split(b"\r\n\r\n", 1)[1]) for answer in answers]
        return seconds, [body["choices"][0]["token_ids"] for body in bodies]

    def memory(self):
        with open(f"/proc/{self.process.pid}/smaps_rollup") as f:
            return next(int(line.split()[1]) // 1024 for line in f if line.startswith("Pss:"))

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Transformers:
    def __init__(self, path, threads):
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        torch.set_num_threads(threads)
        self.torch = torch
        self.model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        self.model.eval()
        # End-of-text is a token like others here, as for the server.
        self.model.generation_config.eos_token_id = None

    def batch(self, prompts):
        ids = self.torch.tensor(prompts)
        start = time.perf_counter()
        with self.torch.inference_mode():
            out = self.model.generate(
                ids,
                attention_mask=self.torch.ones_like(ids),
                max_new_tokens=NEW,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=0,
            )
        return time.perf_counter() - start, out[:, PROMPT:].tolist()


def prompts(count, seed):
    import random

    rng = random.Random(seed)
    return [[rng.randrange(256) for _ in range(PROMPT)] for _ in range(count)]


def measure(name, program, model, threads, rounds):
    server = Server(program, model, threads)
    idle = server.memory()
    python = Transformers(model, threads)
    rows = []
    for size in [1, 8, 32]:
        best = {"builtin": 0.0, "transformers": 0.0}
        same = total = 0
        for round in range(rounds):
            texts = {}
            for side, engine in [("transformers", python), ("builtin", server)]:
                # New prompts each round: the built-in engine must not answer out of its cache.
                asked = prompts(size, 1000 * size + round)
                seconds, texts[side] = engine.batch(asked)
                best[side] = max(best[side], size * NEW / seconds)
            total += size
            same += sum(a == b for a, b in zip(texts["builtin"], texts["transformers"]))
        ratio = best["builtin"] / best["transformers"]
        rows.append((size, best["builtin"], best["transformers"], ratio, f"{same}/{total}"))
    after = server.memory()
    server.stop()
    print(f"\n{name}, {threads} threads; server idle {idle} MiB, after the batches {after} MiB")
    print("batch  builtin tok/s  transformers tok/s  ratio  same 64 tokens")
    for size, ours, theirs, ratio, same in rows:
        print(f"{size:5}  {ours:13.0f}  {theirs:18.0f}  {ratio:5.2f}  {same:>14}", flush=True)


def main_job(program, model, threads, count, concurrency):
    """GSM8K's shape with a byte-level tokenizer: a long common few-shot text, own questions, 64 tokens."""
    import random

    rng = random.Random(7)
    common = [rng.randrange(32, 127) for _ in range(6000)]
    asked = [common + [rng.randrange(32, 127) for _ in range(rng.randrange(100, 400))] for _ in range(count)]
    server = Server(program, model, threads)
    start = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        answers = list(pool.map(lambda i: server.complete(asked[i], temperature=1, seed=i), range(count)))
    seconds = time.perf_counter() - start
    new = sum(a["usage"]["completion_tokens"] for a in answers)
    read = sum(a["usage"]["prompt_tokens"] for a in answers)
    memory = server.memory()
    server.stop()
    print(
        f"\nmain job: {count} prompts of 6,000 common and about 250 own tokens, 64 new each, "
        f"{concurrency} at once, {threads} threads: {seconds:.1f} s, {new / seconds:.0f} new tokens/s, "
        f"{read / seconds:.0f} prompt tokens/s, server {memory} MiB"
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--small")
    parser.add_argument("--large")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--main-job", type=int, default=1319, help="number of prompts, 0 for none")
    parser.add_argument("--concurrency", type=int, default=64)
    args = parser.parse_args()
    if args.small and args.main_job:
        main_job(args.program, args.small, args.threads, args.main_job, args.concurrency)
    for name, model in [("small", args.small), ("large", args.large)]:
        if model and args.rounds:
            measure(name, args.program, model, args.threads, args.rounds)


main()
