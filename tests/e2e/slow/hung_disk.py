# Mounts a disk at the folder in its argument on which every file is there, but which answers nothing any more once one was opened: as
# when a network disk hangs; after a SIGUSR1 it answers again, and each file has the contents in the second argument; a folder has one, `a.toml`. What was not even taken up can be killed, as processes that wait for such a disk can; with a third argument it takes one request up before it hangs, and who made that cannot be killed. A file system in user space, by the messages of Linux's include/uapi/linux/fuse.h.
import ctypes, os, signal, struct, sys

contents = sys.argv[2].encode()
takes = len(sys.argv) > 3
is_hung = is_thawed = False

def thaw(*_):
    global is_thawed
    is_thawed = True

signal.signal(signal.SIGUSR1, thaw)
disk = os.open('/dev/fuse', os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
options = f'fd={disk},rootmode=40000,user_id=0,group_id=0,allow_other'.encode()
if libc.mount(b'hung', sys.argv[1].encode(), b'fuse', 0, options) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
print('mounted', flush=True)

LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, INIT, OPENDIR, READDIR, RELEASEDIR = 1, 2, 3, 14, 15, 18, 26, 27, 28, 29
# A flush when it is closed would be waited for, however a process ends.
DIRECT_IO, NO_FLUSH = 1, 32
ENOSYS = -38

def attributes(node):
    mode = 0o040755 if node == 1 else 0o100644
    return struct.pack('<6Q10I', node, len(contents), 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 512, 0)

while True:
    request = os.read(disk, 1 << 20)
    _, kind, number, node = struct.unpack_from('<IIQQ', request)
    if kind == FORGET:
        continue
    answer, error = b'', 0
    if is_hung and takes and not is_thawed:
        signal.pause()
    if kind == INIT:
        answer = struct.pack('<4I2H2I2H8I', 7, 31, 1 << 16, 0, 16, 12, 1 << 16, 1, 1, 0, *[0] * 8)
    elif kind == LOOKUP:
        answer = struct.pack('<4Q2I', 2, 0, 60, 60, 0, 0) + attributes(2)
    elif kind == GETATTR:
        answer = struct.pack('<Q2I', 60, 0, 0) + attributes(node)
    elif kind in (OPEN, OPENDIR):
        answer = struct.pack('<Q2I', 0, DIRECT_IO | NO_FLUSH, 0)
    elif kind == READDIR:
        offset, = struct.unpack_from('<8xQ', request, 40)
        answer = b'' if offset else struct.pack('<2Q2I8s', 2, 1, 6, 8, b'a.toml')
    elif kind == READ:
        offset, size = struct.unpack_from('<8xQI', request, 40)
        answer = contents[offset:offset + size]
    elif kind not in (RELEASE, RELEASEDIR):
        error = ENOSYS
    os.write(disk, struct.pack('<IiQ', 16 + len(answer), error, number) + answer)
    if kind == OPEN and not is_thawed:
        is_hung = True
        if not takes:
            signal.pause()
