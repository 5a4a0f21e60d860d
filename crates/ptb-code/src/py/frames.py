"""Messages over a descriptor: a length of four bytes, little-endian; one letter that says what it is;
the content."""
import os


class Reader:
    """Takes messages from a descriptor, mostly with one call of the system each."""

    def __init__(self, channel):
        self.channel = channel
        self.unread = b""

    def frame(self):
        self.want(4)
        size = int.from_bytes(self.unread[:4], "little") + 4
        self.want(size)
        kind, content = self.unread[4:5], self.unread[5:size]
        self.unread = self.unread[size:]
        return kind, content

    def want(self, size):
        parts = [self.unread]
        missing = size - len(self.unread)
        while missing > 0:
            some = os.read(self.channel, max(missing, 1 << 16))
            if not some:
                # Whoever asked is gone, and so is the reason for this process.
                os._exit(0)
            parts.append(some)
            missing -= len(some)
        self.unread = b"".join(parts)


def write_frame(channel, kind, content=b""):
    data = (len(content) + 1).to_bytes(4, "little") + kind + content
    while data:
        data = data[os.write(channel, data):]


def builtin_name(error):
    """The nearest built-in exception of an error: what the other side can raise in its place."""
    for base in type(error).__mro__:
        if base.__module__ == "builtins":
            return base.__name__.encode("ascii", "replace")
    return b"Exception"
