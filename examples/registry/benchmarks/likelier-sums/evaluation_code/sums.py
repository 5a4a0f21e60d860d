"""A hundred sums, each with a wrong one beside it that is ten off, so that no last digit tells them apart."""


def pairs():
    made = []
    for step in range(100):
        a, b = 11 + step * 37 % 39, 10 + step * 23 % 31
        made.append((f"{a}+{b} = {a + b}", f"{a}+{b} = {a + b + (10 if step % 2 else -10)}"))
    return made
