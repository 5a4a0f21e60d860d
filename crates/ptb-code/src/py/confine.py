"""What a process gives up before it meets anything of others. All of it holds for its children."""
import ctypes
import os
import resource
import struct
import sys

PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
# The same numbers on every architecture.
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_RULE_PATH_BENEATH = 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
# Rights of Landlock's first version, and what later versions added.
FIRST_RIGHTS, ADDED_RIGHTS = (1 << 13) - 1, {2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
# Not the language's own: what people install, and the language's tests.
FOREIGN = {"site-packages", "dist-packages", "test", "idlelib", "ensurepip"}

libc = ctypes.CDLL(None, use_errno=True)


def hide():
    """Nobody of the same user can trace this process or write into its memory."""
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


def see_only_the_library():
    """Leaves the language's own library as the only readable files. False where the kernel cannot."""
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    rights = FIRST_RIGHTS
    for since, added in ADDED_RIGHTS.items():
        rights |= added if version >= since else 0
    handled = ctypes.create_string_buffer(struct.pack("<Q", rights), 8)
    rules = libc.syscall(LANDLOCK_CREATE_RULESET, handled, 8, 0)
    if rules < 0:
        return False
    for place in {os.path.dirname(os.__file__), os.path.dirname(os.path.realpath(os.__file__))}:
        allow(rules, place, READ_DIR)
        for entry in os.scandir(place):
            if entry.name not in FOREIGN:
                allow(rules, entry.path, READ_FILE | READ_DIR if entry.is_dir() else READ_FILE)
    done = libc.syscall(LANDLOCK_RESTRICT_SELF, rules, 0)
    os.close(rules)
    return done == 0


def allow(rules, path, rights):
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    rule = ctypes.create_string_buffer(struct.pack("<Qi", rights, place), 12)
    libc.syscall(LANDLOCK_ADD_RULE, rules, LANDLOCK_RULE_PATH_BENEATH, rule, 0)
    os.close(place)


class Program(ctypes.Structure):
    """struct sock_fprog"""
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def confine(limits):
    """Limits, then the filter of system calls. Raises when any of it fails."""
    seconds = limits["all_cpu_seconds"]
    lower(resource.RLIMIT_AS, limits["memory"])
    lower(resource.RLIMIT_NOFILE, 64)
    # One second between the signal that can be caught and the one that cannot.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    instructions = limits["filter"]
    program = Program(len(instructions) // 8, instructions)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


def lower(kind, most):
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(kind, (most, most))
