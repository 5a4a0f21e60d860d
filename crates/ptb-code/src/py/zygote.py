"""A Python that has everything loaded and forks a child at a time, on orders over a socket.

Orders: `b` with a descriptor: fork a child that speaks over it. `e`: end the child and whatever else
lives here, and tell how it ended. The end of the socket is the end of this process. The zygote never
reads anything that a child wrote.
"""
import gc
import importlib
import os
import signal
import socket
import struct
import sys
import time

# What programs import most. Loaded once here instead of in every child.
WARM = (
    "abc array ast base64 binascii bisect calendar cmath collections.abc contextlib copy dataclasses "
    "datetime decimal enum fractions functools hashlib heapq inspect io itertools json keyword math "
    "numbers operator random re statistics string struct textwrap threading time traceback types typing "
    "unicodedata warnings zlib _strptime"
).split()
# Other libraries hang on these: once nothing but the language's own is readable, they cannot be loaded.
WARM += ["bz2", "lzma"]
# Tests import little.
WARM_CHECKER = "collections.abc copy hashlib itertools json math random re string typing".split()
# Jobs that one process may serve: the program's never more than one.
MOST_JOBS = {"program": 1, "checker": 100}
# How long the dead may take to vanish, in milliseconds.
PATIENCE = 2000


def warm(names):
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            # A Python built without it: programs will meet the same error.
            pass
    sys.path[:] = [place for place in sys.path if place]
    gc.collect()
    # The children shall not copy pages only because the collector touched them.
    gc.freeze()


def child(role, channel, limits):
    os.dup2(channel, 3)
    os.closerange(4, 1024)
    confine(limits)
    write_frame(3, b"h")
    try:
        {"program": run_program, "checker": run_checker}[role](3, limits["cpu_seconds"])
    finally:
        os._exit(0)


def end(pid):
    """Kills all but PID 1 and this process, in one stroke: the kernel lets no fork slip through."""
    kill_all()
    _, status, usage = os.wait4(pid, 0)
    for _ in range(PATIENCE):
        if not kill_all():
            seconds = usage.ru_utime + usage.ru_stime
            killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            return struct.pack("<4sII", b"done", killed, int(seconds * 1000))
        time.sleep(0.001)
    os._exit(1)


def kill_all():
    try:
        os.kill(-1, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


def main():
    role, place, memory, cpu_seconds, instructions = sys.argv[1:]
    limits = {
        "memory": int(memory),
        "cpu_seconds": int(cpu_seconds),
        "all_cpu_seconds": int(cpu_seconds) * MOST_JOBS[role],
        "filter": bytes.fromhex(instructions),
    }
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.connect(place)
    warm(WARM if role == "program" else WARM_CHECKER)
    hide()
    null = os.open(os.devnull, os.O_RDWR)
    alone = see_only_the_library()
    for stream in range(3):
        os.dup2(null, stream)
    os.close(null)
    door.sendall(b"here" + (b"a" if alone else b"-"))
    pid = None
    while True:
        order, descriptors, _, _ = socket.recv_fds(door, 1, 1)
        if order == b"b" and pid is None and len(descriptors) == 1:
            pid = os.fork()
            if pid == 0:
                child(role, descriptors[0], limits)
            os.close(descriptors[0])
        elif order == b"e" and pid is not None:
            door.sendall(end(pid))
            pid = None
        else:
            os._exit(0)
