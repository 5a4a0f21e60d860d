"""The child that runs the tests of jobs, one after another. It alone says whether they passed.

Tests are trusted and of a program come plain values only, so one process can do for many jobs as long
as nothing out of the ordinary happens; then it is ended, and the next job gets a new one.
"""
import builtins
import random
import signal
import sys
import types


class Spoiled(BaseException):
    """An answer that cannot be used. Not an Exception, so that no test takes it for one."""


class Unaskable(BaseException):
    """The tests call the function with something that does not cross."""


class Candidate:
    """Stands for the program's function: each call is a question to the other process."""

    def __init__(self, channel, reader):
        self.channel = channel
        self.reader = reader
        self.spoiled = False
        self.called = False

    def __call__(self, *args, **named):
        try:
            question = encode((args, named))
        except NotPlain:
            raise Unaskable from None
        self.called = True
        write_frame(self.channel, b"c", question)
        kind, content = self.reader.frame()
        if kind == b"e":
            raise exception_of(content)
        try:
            return decode(content)
        except NotPlain:
            self.spoiled = True
            raise Spoiled from None


def exception_of(name):
    found = getattr(builtins, name.decode("ascii", "replace"), None)
    if isinstance(found, type) and issubclass(found, Exception):
        try:
            return found("raised by the program")
        except TypeError:
            # Some want more arguments than a text (UnicodeDecodeError).
            return found.__new__(found)
    return Exception("raised by the program")


def load_tests(job, candidate):
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    names = module.__dict__
    exec(compile(job["prelude"], "<prelude>", "exec", dont_inherit=True), names)
    # Tests may call the function by its name, too.
    names[job["entry_point"]] = candidate
    exec(compile(job["tests"], "<tests>", "exec", dont_inherit=True), names)
    return names["check"]


def judge(channel, reader, job):
    """The kind and the content of the verdict's frame."""
    random.seed(0)
    candidate = Candidate(channel, reader)
    check = None
    try:
        check = load_tests(job, candidate)
        check(candidate)
    except BaseException as error:
        # Once the program has been heard, what comes may be of its making. Before that it is the tests' own.
        if not candidate.called:
            if isinstance(error, Unaskable):
                return b"t", b"they call it with something that is no plain value"
            if check is None:
                return b"t", repr(error)[:200].encode("utf-8", "replace")
        if isinstance(error, AssertionError):
            return b"f", b"an assertion failed"
        if isinstance(error, Unaskable):
            return b"f", b"the tests cannot pass on what it answers"
        if not isinstance(error, Spoiled):
            return b"f", b"raised " + builtin_name(error)
    if candidate.spoiled:
        return b"f", b"the answer is no plain value"
    return b"p", b""


def run_checker(channel, seconds):
    reader = Reader(channel)
    while True:
        _, text = reader.frame()
        # The limit that begins anew with each job; its signal ends this process.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        kind, content = judge(channel, reader, json.loads(text))
        signal.setitimer(signal.ITIMER_PROF, 0)
        write_frame(channel, kind, content)
