"""CPU, memory and time of whole evaluations of GSM8K against a server that answers after a fixed time: this project's
program and Inspect AI, side by side. Both write their logs; this project's keeps each completion as it comes."""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

TASK = '''
import json, os
from inspect_ai import Task, task
from inspect_ai.dataset import Sample, MemoryDataset
from inspect_ai.scorer import match
from inspect_ai.solver import generate, system_message

folder = os.environ["GSM8K"]
read = lambda name: [json.loads(line) for line in open(os.path.join(folder, name))]
target = lambda record: record["answer"].rsplit("####", 1)[1].strip()
shown = [read("train.jsonl")[i] for i in (3082, 2184, 5897, 2437, 6330, 819, 3812, 5878, 5302, 5876)]
shots = "\\n\\n".join(r["question"] + "\\n\\n" + r["answer"].rsplit("####", 1)[0] + "\\nANSWER: " + target(r) for r in shown)

@task
def questions():
    samples = [Sample(input=r["question"], target=target(r)) for r in read("test.jsonl")]
    return Task(MemoryDataset(samples), solver=[system_message(shots.replace("{", "{{").replace("}", "}}")), generate()],
                scorer=match(numeric=True))
'''


def measured(command, **options):
    """Seconds, CPU seconds and peak resident MB of a command and what it starts."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    peak = 0
    while process.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, *(int(l.split()[1]) for l in status.splitlines() if l.startswith("VmHWM")), 0)
        except (OSError, TypeError):
            pass
        time.sleep(0.05)
    wall = time.monotonic() - start
    if process.returncode != 0:
        sys.exit(process.stderr.read().decode()[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, peak / 1024


def main():
    parser = argparse.ArgumentParser()
    for name in ("ptb", "server", "gsm8k"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--milliseconds", type=int, default=50)
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    questions = sum(1 for _ in open(os.path.join(args.gsm8k, "test.jsonl")))
    server = subprocess.Popen([args.server, str(args.milliseconds)], stdout=subprocess.PIPE, text=True)
    url = server.stdout.readline().strip()
    rows = []
    try:
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            subprocess.run([args.ptb, "random-model", scratch / "model"], check=True, capture_output=True)
            sampling = {"do_sample": True, "temperature": 0.6, "top_p": 0.95}
            (scratch / "model/generation_config.json").write_text(json.dumps(sampling))
            (scratch / "task.py").write_text(TASK)
            seeds = [word for seed in range(args.epochs) for word in ("--seed", str(seed))]
            for round_ in range(args.rounds):
                for connections in args.connections:
                    for manner in ("", "?chat"):
                        out = scratch / f"out-{round_}-{connections}{manner.strip('?')}"
                        command = [args.ptb, "eval", "gsm8k", "--model", "tiny", "--model-path", scratch / "model",
                                   "--data", args.gsm8k, "--engine", url + manner, "--out", out,
                                   "--max-connections", str(connections), *seeds, "--json"]
                        name = "ptb, messages" if manner else "ptb, text"
                        rows.append((name, connections, questions * args.epochs, *measured(command)))
                        print(rows[-1], file=sys.stderr, flush=True)
                    inspect = [pathlib.Path(sys.executable).with_name("inspect"), "eval", "task.py",
                               "--model", "openai-api/local/m", "--max-connections", str(connections),
                               "--max-samples", str(connections), "--log-dir", scratch / f"logs-{round_}-{connections}",
                               "--display", "none", "--no-fail-on-error"]
                    env = {**os.environ, "LOCAL_BASE_URL": url, "LOCAL_API_KEY": "x", "GSM8K": args.gsm8k}
                    rows.append(("inspect", connections, questions, *measured(inspect, env=env, cwd=scratch)))
                    print(rows[-1], file=sys.stderr, flush=True)
    finally:
        server.terminate()
    print("| who | connections | samples | wall s | ideal s | wall / ideal | CPU ms a sample | peak MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, connections, samples, wall, cpu, peak in rows:
        ideal = -(-samples // connections) * args.milliseconds / 1000
        print(f"| {name} | {connections} | {samples} | {wall:.2f} | {ideal:.2f} | {wall / ideal:.2f} | "
              f"{1000 * cpu / samples:.3f} | {peak:.0f} |")


main()
