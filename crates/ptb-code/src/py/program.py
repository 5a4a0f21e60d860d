"""The child that runs one program: loads it, then answers calls of one of its functions."""
import random
import sys
import types


def run_program(channel, _seconds):
    reader = Reader(channel)
    job = json.loads(reader.frame()[1])
    random.seed(0)
    # A module of that name, because dataclasses and others look their module up.
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    try:
        code = compile(job["source"], "<program>", "exec", dont_inherit=True)
    except Exception as error:
        return write_frame(channel, b"y", builtin_name(error))
    try:
        exec(code, module.__dict__)
    except Exception as error:
        return write_frame(channel, b"s", builtin_name(error))
    except BaseException:
        return write_frame(channel, b"x")
    function = module.__dict__.get(job["entry_point"])
    if not callable(function):
        return write_frame(channel, b"n")
    write_frame(channel, b"l")
    while True:
        args, named = decode(reader.frame()[1])
        try:
            value = function(*args, **named)
        except Exception as error:
            write_frame(channel, b"e", builtin_name(error))
            continue
        except BaseException:
            return write_frame(channel, b"x")
        try:
            answer = encode(value)
        except NotPlain:
            return write_frame(channel, b"u")
        write_frame(channel, b"r", answer)
