# why: random bytes instead of messages
import os
def length(text):
    os.write(3, os.urandom(100000))
    return -1
