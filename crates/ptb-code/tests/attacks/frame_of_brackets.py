# why: a message that breaks readers that descend
import os
OPENINGS = (b"[", b'{"tuple":[', b'{"dict":[[')
def length(text):
    content = b"r" + OPENINGS[len(text) % 3] * 300_000
    os.write(3, len(content).to_bytes(4, "little") + content)
    return -1
