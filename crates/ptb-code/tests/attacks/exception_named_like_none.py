# why: exceptions named after things that are no exceptions
import os
NAMES = ["SystemExit", "KeyboardInterrupt", "exit", "print", "__import__", "object", "BaseException", "GeneratorExit"]
def length(text):
    content = b"e" + NAMES[len(text) % len(NAMES)].encode()
    os.write(3, len(content).to_bytes(4, "little") + content)
