"""`python -m tests.faults.small_disk MEGABYTES COMMAND …` runs a command that has a small disk.

Who may not mount in the machine's namespace may in one of their own, where the kernel allows that
to normal users; so the command, with all that it starts, gets one, and in it a file system of this
size in memory. A limit on the sizes of a process's files would be no full disk: it is told of a
file that is too large, which no server takes for a lack of room.
"""

import ctypes
import os
import sys
import tempfile
from pathlib import Path

SMALL_DISK = "TRUEUP_SMALL_DISK"
"""Where the command finds it."""
NEW_USER, NEW_MOUNTS = 0x10000000, 0x00020000


def mount_for_us_alone(folder, size_mb):
    """The folder is an empty file system of this size for this process and what it becomes.

    Raises:
        OSError: the kernel does not let us.
    """
    library = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    _call(library.unshare, NEW_USER | NEW_MOUNTS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    options = f"size={size_mb}m,mode=0711".encode()
    _call(library.mount, b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options)


def _call(function, *values):
    if function(*values):
        problem = os.strerror(ctypes.get_errno())
        raise OSError(f"{function.__name__}: {problem}: no small disk for a normal user here")


if __name__ == "__main__":
    home = tempfile.mkdtemp(prefix="small-disk-")
    try:
        mount_for_us_alone(home, int(sys.argv[1]))
    except (AttributeError, OSError) as problem:
        sys.exit(str(problem))
    os.execvpe(sys.argv[2], sys.argv[2:], os.environ | {SMALL_DISK: home})
