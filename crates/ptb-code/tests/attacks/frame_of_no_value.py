# why: well-formed messages that are no values
import os
TRIES = [b'{"__class__":1}', b"NaN", b"1.5", b'["x",1]', b'["i"]', b'["f","zz"]', b'["d",[1]]', b"[]", b"[[]]",
         b'["s",["l",1]]', b'["i","' + b"9" * 100000 + b'"]', b"9" * 100000, b"\xff\xfe", b""]
def length(text):
    content = b"r" + TRIES[len(text) % len(TRIES)]
    os.write(3, len(content).to_bytes(4, "little") + content)
