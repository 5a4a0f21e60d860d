# why: closes all descriptors, and answers into whatever opens next
import os
def length(text):
    os.closerange(0, 256)
    os.pipe()
    return -1
