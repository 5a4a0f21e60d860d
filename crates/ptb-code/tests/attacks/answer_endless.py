# why: an iterator without an end, and a list that iterates for ever
class Endless(list):
    def __iter__(self):
        while True:
            yield 5
def length(text):
    return Endless([5]) if text else iter(int, 1)
