"""HumanEval's reference solutions through the pool and through Inspect's local sandbox.

The pool's time includes the start of its Pythons; Inspect's does not include its imports. Both use the
Python that runs this, without a launcher in between. Runs alternate, the median counts.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time


def pool(program, data):
    environment = dict(os.environ, PTB_CODE_PYTHON=sys.executable)
    began = time.monotonic()
    done = subprocess.run([program, data], env=environment, check=True, capture_output=True, text=True)
    took = time.monotonic() - began
    told = json.loads(done.stdout.splitlines()[-1])
    return took, told["passed"], told["n"]


def inspect(data, logs):
    import inspect_ai
    from inspect_ai.dataset import MemoryDataset
    from inspect_ai.model import ModelOutput
    from inspect_ai.solver import solver
    from inspect_evals.humaneval.humaneval import record_to_sample, verify

    @solver
    def reference():
        async def answer(state, generate):
            state.output = ModelOutput.from_content("mockllm/model", state.target.text)
            return state

        return answer

    with open(data) as lines:
        samples = [record_to_sample()(json.loads(line)) for line in lines]
    task = inspect_ai.Task(dataset=MemoryDataset(samples), solver=reference(), scorer=verify(), sandbox="local")
    began = time.monotonic()
    [log] = inspect_ai.eval(task, model="mockllm/model", display="none", log_dir=logs)
    took = time.monotonic() - began
    if log.status != "success":
        sys.exit(f"Inspect did not come to its end: {log.error}")
    accuracy = log.results.scores[0].metrics["accuracy"].value
    return took, round(accuracy * len(samples)), len(samples)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--program", required=True)
    options.add_argument("--data", required=True)
    options.add_argument("--rounds", type=int, default=3)
    options = options.parse_args()
    # Inspect starts whatever `python` is on PATH.
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    times = {"pool": [], "inspect": []}
    with tempfile.TemporaryDirectory() as logs:
        for _ in range(options.rounds):
            for name, run in (
                ("pool", lambda: pool(options.program, options.data)),
                ("inspect", lambda: inspect(options.data, logs)),
            ):
                took, passed, n = run()
                print(f"{name}: {passed} of {n} passed in {took:.2f} s, {n / took:.0f} a second", flush=True)
                if passed != n:
                    sys.exit(f"{name} does not pass all reference solutions")
                times[name].append(took)
    ratio = statistics.median(times["inspect"]) / statistics.median(times["pool"])
    print(f"the pool is {ratio:.1f} times as fast (median of {options.rounds})")
    sys.exit(ratio < 5)


if __name__ == "__main__":
    main()
