# why: waits for ever without using the processor
import time
def length(text):
    time.sleep(10**6)
