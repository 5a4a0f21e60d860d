# why: each call is quick enough, all together are not
import time
def length(text):
    time.sleep(1.5)
    return len(text)
