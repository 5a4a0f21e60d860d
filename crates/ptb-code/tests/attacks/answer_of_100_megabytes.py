# why: an answer that no reader should hold
def length(text):
    return "a" * 100_000_000
