# Stops one thread of a process, as a debugger does, and lets it go when standard input ends: a thread that hangs.
import ctypes
import os
import sys

SEIZE, INTERRUPT, ALL = 0x4206, 0x4207, 0x40000000  # PTRACE_SEIZE, PTRACE_INTERRUPT, __WALL
libc = ctypes.CDLL(None, use_errno=True)
thread = int(sys.argv[1])
for request in SEIZE, INTERRUPT:
    if libc.ptrace(request, thread, None, None) != 0:
        print("refused:", os.strerror(ctypes.get_errno()), flush=True)
        sys.exit(1)
os.waitpid(thread, ALL)
print("held", flush=True)
sys.stdin.read()
