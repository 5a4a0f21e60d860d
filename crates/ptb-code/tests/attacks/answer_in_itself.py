# why: a list that is its own element
def length(text):
    value = []
    value.append(value)
    return value
