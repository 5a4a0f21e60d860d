# why: a loop that no Python-level signal handler interrupts
def length(text):
    return sum(iter(int, 1))
