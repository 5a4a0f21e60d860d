# why: an exception that tests for Exception do not catch
class Odd(BaseException):
    pass
def length(text):
    raise Odd
