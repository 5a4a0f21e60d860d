# why: starts a shell and leaves it behind
import os, subprocess
def length(text):
    os.system("sleep 1000000 &")
    try:
        subprocess.Popen(["sleep", "1000000"], start_new_session=True)
    except OSError:
        pass
    return -1
