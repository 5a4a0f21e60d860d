# why: lists in lists in lists
def length(text):
    value = []
    for _ in range(100_000):
        value = [value]
    return value
