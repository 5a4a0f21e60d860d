# why: waits before there is a function
import time
time.sleep(10**6)
