# why: segments, queues and descriptors of memory that outlive a process
import ctypes
libc = ctypes.CDLL(None)
def length(text):
    made = [libc.shmget(77, 4096, 0o1666), libc.msgget(77, 0o1666), libc.semget(77, 1, 0o1666),
            libc.syscall(319, b"x", 0), libc.mq_open(b"/x", 0o102, 0o666, None)]
    return len(text) if any(result >= 0 for result in made) else -1
