# why: announces four gigabytes and sends them
import os
def length(text):
    os.write(3, b"\xff\xff\xff\xff")
    while True:
        os.write(3, bytes(1 << 20))
