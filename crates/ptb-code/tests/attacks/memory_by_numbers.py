# why: a number of gigabytes
def length(text):
    return 1 << (1 << 40)
