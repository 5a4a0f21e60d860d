"""Plain values between two processes that do not trust each other.

Scalars that JSON has are themselves; everything else is a list that begins with its tag. Reading
builds nothing but built-in types, so no method of the other side ever runs on this one. Never pickle.
"""
import json

MOST_BYTES = 4 << 20
SMALL = 1 << 62


class NotPlain(Exception):
    """A value that does not cross."""


def items(values):
    return [pack(value) for value in values]


# Base types in the order of their test: bool before int. A subclass (Counter, namedtuple, an enum
# with numbers) crosses as its base, read with the base's own methods.
WRITERS = (
    (bool, lambda value: value),
    (int, lambda value: pack_int(int.__index__(value))),
    (float, lambda value: ["f", float.hex(value)]),
    (str, lambda value: str.__str__(value)),
    (list, lambda value: ["l"] + items(list.__iter__(value))),
    (tuple, lambda value: ["t"] + items(tuple.__iter__(value))),
    (dict, lambda value: ["d"] + [items(pair) for pair in dict.items(value)]),
    (set, lambda value: ["s"] + items(set.__iter__(value))),
    (frozenset, lambda value: ["z"] + items(frozenset.__iter__(value))),
    (complex, lambda value: ["c", float.hex(value.real), float.hex(value.imag)]),
    (bytes, lambda value: ["b", bytes.hex(value)]),
    (bytearray, lambda value: ["a", bytearray.hex(value)]),
)


def pack_int(value):
    # Hexadecimal: decimal text of long numbers is slow, and newer Pythons refuse it.
    return value if -SMALL < value < SMALL else ["i", hex(value)]


def pack(value):
    if value is None:
        return None
    for base, write in WRITERS:
        if isinstance(value, base):
            return write(value)
    raise NotPlain


def read_pair(pair):
    if type(pair) is not list or len(pair) != 2:
        raise NotPlain
    return unpack(pair[0]), unpack(pair[1])


READERS = {
    "i": lambda rest: int(rest[0], 16),
    "f": lambda rest: float.fromhex(rest[0]),
    "l": lambda rest: [unpack(item) for item in rest],
    "t": lambda rest: tuple([unpack(item) for item in rest]),
    "d": lambda rest: dict([read_pair(pair) for pair in rest]),
    "s": lambda rest: {unpack(item) for item in rest},
    "z": lambda rest: frozenset([unpack(item) for item in rest]),
    "c": lambda rest: complex(float.fromhex(rest[0]), float.fromhex(rest[1])),
    "b": lambda rest: bytes.fromhex(rest[0]),
    "a": lambda rest: bytearray.fromhex(rest[0]),
}


def unpack(item):
    if item is None or type(item) in (bool, int, str):
        return item
    if type(item) is not list or not item or type(item[0]) is not str or item[0] not in READERS:
        raise NotPlain
    return READERS[item[0]](item[1:])


def encode(value):
    """The bytes of a value, or NotPlain."""
    try:
        data = json.dumps(pack(value), separators=(",", ":")).encode("ascii")
    except Exception as error:
        raise NotPlain from error
    if len(data) > MOST_BYTES:
        raise NotPlain
    return data


def decode(data):
    """The value of bytes, or NotPlain, whatever the bytes are."""
    try:
        return unpack(json.loads(data))
    except Exception as error:
        raise NotPlain from error
