# why: never answers
def length(text):
    while True:
        pass
