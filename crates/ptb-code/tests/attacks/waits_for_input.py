# why: asks somebody who is not there
def length(text):
    return int(input("length? "))
