# why: prints until something is full
def length(text):
    while True:
        print("passed" * 10_000)
