"""Plain values between two processes that do not trust each other.

Numbers, texts, None and lists are what JSON has; everything else is an object of one member, whose name
tells the type. Reading builds nothing but built-in types, so no method of the other side ever runs on
this one. Never pickle.
"""
import json

MOST_BYTES = 4 << 20
SMALL = 1 << 62
# What JSON carries unchanged, when it is no long number and a finite one.
SCALARS = frozenset((type(None), bool, str))


class NotPlain(Exception):
    """A value that does not cross."""


def pack_int(value):
    # Hexadecimal: decimal text of long numbers is slow, and newer Pythons refuse it.
    return value if -SMALL < value < SMALL else {"int": hex(value)}


def pack_float(value):
    return value if value - value == 0 else {"float": float.hex(value)}


def pack_all(values):
    return [value if type(value) in SCALARS else pack(value) for value in values]


# Base types in the order of their test: bool before int. A subclass (Counter, namedtuple, an enum
# with numbers) crosses as its base, read with the base's own methods.
WRITERS = {
    bool: lambda value: value,
    int: lambda value: pack_int(int.__index__(value)),
    float: lambda value: pack_float(float.__float__(value)),
    str: lambda value: str.__str__(value),
    list: lambda value: pack_all(list.__iter__(value)),
    tuple: lambda value: {"tuple": pack_all(tuple.__iter__(value))},
    dict: lambda value: {"dict": [pack_all(pair) for pair in dict.items(value)]},
    set: lambda value: {"set": pack_all(set.__iter__(value))},
    frozenset: lambda value: {"frozenset": pack_all(frozenset.__iter__(value))},
    complex: lambda value: {"complex": [float.hex(value.real), float.hex(value.imag)]},
    bytes: lambda value: {"bytes": bytes.hex(value)},
    bytearray: lambda value: {"bytearray": bytearray.hex(value)},
}


def pack(value):
    if value is None:
        return None
    write = WRITERS.get(type(value))
    if write:
        return write(value)
    for base, write in WRITERS.items():
        if isinstance(value, base):
            return write(value)
    raise NotPlain


def read_pair(pair):
    key, value = unpack_all(pair)
    return key, value


READERS = {
    "int": lambda content: int(content, 16),
    "float": float.fromhex,
    "tuple": lambda content: tuple(unpack_all(content)),
    "dict": lambda content: dict([read_pair(pair) for pair in content]),
    "set": lambda content: set(unpack_all(content)),
    "frozenset": lambda content: frozenset(unpack_all(content)),
    "complex": lambda content: complex(*map(float.fromhex, content)),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
}


def unpack_all(items):
    if type(items) is not list:
        raise NotPlain
    return [item if type(item) in SCALARS else unpack(item) for item in items]


def unpack(item):
    kind = type(item)
    if kind in SCALARS or kind is int or kind is float:
        return item
    if kind is list:
        return unpack_all(item)
    [(name, content)] = item.items()
    return READERS[name](content)


def refuse(_text):
    raise NotPlain


ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
# The words NaN and Infinity are not JSON, but would be read.
DECODER = json.JSONDecoder(parse_constant=refuse)


def encode(value):
    """The bytes of a value, or NotPlain."""
    try:
        data = ENCODER.encode(pack(value)).encode("ascii")
    except Exception as error:
        raise NotPlain from error
    if len(data) > MOST_BYTES:
        raise NotPlain
    return data


def decode(data):
    """The value of bytes, or NotPlain, whatever the bytes are."""
    try:
        return unpack(DECODER.decode(data.decode("ascii")))
    except Exception as error:
        raise NotPlain from error
