# why: recursion without an end
def length(text):
    return 1 + length(text)
