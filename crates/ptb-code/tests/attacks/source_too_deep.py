# why: breaks the compiler
def length(text):
    return eval("(" * 100_000 + "5" + ")" * 100_000)
