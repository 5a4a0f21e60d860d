#!/usr/bin/env python3
"""Evaluates a model directory on this task's benchmark.

    python3 evaluate.py                                  # final_model, the benchmark's usual part
    python3 evaluate.py --model-path checkpoints/a --limit 50 --json-output-file a.json

The model is read and evaluated outside of this machine's limits; this file only asks for it, so there
is nothing in it to change. The directory must lie below the task's directory and hold the files
themselves (config.json, *.safetensors, tokenizer), not links. One evaluation runs at a time, its time
counts, and ending this program cancels it.

Progress goes to standard error, the metrics as JSON to standard output. Exit codes: 0 done; 2 the
request or the model is at fault; 3 the evaluation failed otherwise (try again).
"""

import argparse
import http.client
import json
import os
import socket
import sys
import time

SOCKET = os.environ.get("PTB_DOOR_SOCKET", "/run/ptb/door.sock")
SILENCE = 60  # seconds; the other side says every few seconds that it is alive
LONGEST_LINE = 64 << 20
DONE, FAULT, FAILED = 0, 2, 3


class Door(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=SILENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SILENCE)
        self.sock.connect(self.path)


class Failure(Exception):
    """What to say, and the exit code."""

    def __init__(self, code, message, hint=""):
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


def printable(text):
    """Text from elsewhere without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else "\\u%04x" % ord(c) for c in str(text))


def say(text):
    print(printable(text), file=sys.stderr, flush=True)


def arguments():
    lines = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(
        description=lines[0], epilog="\n\n".join(lines[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model-path", default="final_model", help="directory of the model (default: final_model)")
    parser.add_argument("--limit", type=int, help="evaluate the first N samples alone")
    parser.add_argument("--max-tokens", type=int, help="new tokens allowed per answer")
    parser.add_argument("--max-connections", type=int, help="samples answered at one time")
    parser.add_argument("--gpu-memory-utilization", type=float, help="share of the GPU's memory for the engine, 0 to 1")
    parser.add_argument("--json-output-file", metavar="FILE", help="write the metrics there too")
    parser.add_argument("--samples-output-file", metavar="FILE", help="write what may be known of each sample, one JSON a line")
    parser.add_argument("--templates-dir", help="accepted and ignored: the chat template is the base model's")
    return parser.parse_args()


def request_of(options):
    fields = {
        "model_path": os.path.abspath(options.model_path),
        "limit": options.limit,
        "max_tokens": options.max_tokens,
        "max_connections": options.max_connections,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "templates_dir": options.templates_dir,
    }
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def failure_of(event):
    code = FAULT if event.get("kind") in ("input", "model") else FAILED
    return Failure(code, event.get("message", "no reason was given"), event.get("hint", ""))


def ask(request):
    """Sends the request; gives the reply's lines as they come."""
    door = Door(SOCKET)
    try:
        door.connect()
    except OSError as e:
        raise Failure(FAILED, "cannot reach the door %s: %s" % (SOCKET, e.strerror or e),
                      "this works while a run is under way, inside of it")
    try:
        door.request("POST", "/v1/evaluate", body=request, headers={"Content-Type": "application/json"})
    except (BrokenPipeError, ConnectionResetError):
        pass  # turned away before the request was read: the answer says why
    reply = door.getresponse()
    while True:
        line = reply.readline(LONGEST_LINE)
        if not line:
            return
        try:
            event = json.loads(line.decode("utf-8"))
        except ValueError:
            raise Failure(FAILED, "the door sent what is no JSON", "try again")
        if isinstance(event, dict):
            yield event


class Progress:
    """Prints steps, seldom enough for a log."""

    def __init__(self):
        self.stage, self.next = None, 0.0

    def show(self, event):
        stage, done, total = event.get("stage"), event.get("done", 0), event.get("total", 0)
        if stage == self.stage and time.monotonic() < self.next and done != total:
            return
        self.stage, self.next = stage, time.monotonic() + 2
        say("%s %s/%s" % (stage, done, total) if total else str(stage))


def follow(events, samples):
    """Follows an evaluation to its end; gives the metrics."""
    progress, count = Progress(), 0
    for event in events:
        kind = event.get("event")
        if kind == "accepted":
            for note in event.get("notes", []):
                say("note: %s" % note)
        elif kind == "snapshot":
            say("snapshot of %s bytes taken, sha256 %s" % (event.get("bytes"), event.get("sha256")))
            if event.get("left_out"):
                say("not part of a model, left out: %s" % ", ".join(map(str, event["left_out"])))
        elif kind == "progress":
            progress.show(event)
        elif kind == "sample":
            count += 1
            if samples:
                samples.write(json.dumps(event.get("sample")) + "\n")
        elif kind == "error":
            raise failure_of(event)
        elif kind == "result":
            if count and not samples:
                say("note: %d samples can be had with --samples-output-file FILE" % count)
            return event.get("metrics")
    raise Failure(FAILED, "the door closed before the evaluation had ended", "try again")


def evaluate(options):
    samples = open(options.samples_output_file, "w") if options.samples_output_file else None
    try:
        metrics = follow(ask(request_of(options)), samples)
    finally:
        if samples:
            samples.close()
    text = json.dumps(metrics, indent=2)
    if options.json_output_file:
        with open(options.json_output_file, "w") as file:
            file.write(text + "\n")
    print(text, flush=True)


def main():
    try:
        evaluate(arguments())
        return DONE
    except Failure as failure:
        say("error: %s" % failure.message)
        if failure.hint:
            say("hint: %s" % failure.hint)
        return failure.code
    except KeyboardInterrupt:
        say("error: interrupted, the evaluation is cancelled")
        return FAILED
    except (OSError, http.client.HTTPException) as e:
        say("error: %s" % e)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
