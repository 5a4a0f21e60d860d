# why: a message that comes one byte at a time and never ends
import os, time
def length(text):
    os.write(3, b"\xff\xff\x0f\x00r")
    while True:
        os.write(3, b"1")
        time.sleep(0.01)
