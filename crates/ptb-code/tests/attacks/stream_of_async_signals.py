# why: a handler that raises again and again, into whatever runs
import signal
def handler(*about):
    signal.setitimer(signal.ITIMER_REAL, 0.0001)
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, handler)
def length(text):
    signal.setitimer(signal.ITIMER_REAL, 0.0001)
    return -1
