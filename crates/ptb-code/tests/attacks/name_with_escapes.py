# why: an exception whose name drives a terminal and forges a log line
Bad = type("\x1b[2J\nall tests passed\n" * 10000, (Exception,), {"__module__": "builtins"})
def length(text):
    raise Bad("\x1b[31m")
