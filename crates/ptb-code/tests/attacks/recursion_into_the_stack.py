# why: lifts Python's limit and breaks the stack itself
import sys
sys.setrecursionlimit(10**9)
def length(text):
    return (lambda f: f(f))(lambda f: [f(f)].count(0) + max([1], key=lambda _: f(f)))
