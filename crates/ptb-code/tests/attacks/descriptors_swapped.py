# why: puts something else in the channel's place
import os
def length(text):
    reader, writer = os.pipe()
    os.dup2(writer, 3)
    return -1
