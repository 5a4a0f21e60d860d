# why: reads memory that is not there
import ctypes
def length(text):
    return ctypes.string_at(1)
