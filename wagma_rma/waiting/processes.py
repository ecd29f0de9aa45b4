"""Which processes of this host have ended, told from outside of MPI.

A process is named by one number: its id, the namespace in which the id counts, and the time at which the
process started, since ids are used again.
"""

import os
from pathlib import Path
from zlib import crc32

PID_BITS, NAMESPACE_BITS, START_BITS = 22, 20, 21  # a pid is at most 2^22
_PROC = Path("/proc")


def own_process() -> int:
    """Return the number of this process, or 0 if the system does not tell its parts. Local."""
    state = _state(os.getpid())
    namespace = _namespace()
    if state is None or namespace is None:
        return 0
    return os.getpid() << (NAMESPACE_BITS + START_BITS) | namespace << START_BITS | state[1]


def process_id(process: int) -> int:
    """Return the id of a process, from its number."""
    return process >> (NAMESPACE_BITS + START_BITS)


def has_ended(process: int) -> bool:
    """Return whether a process of this host has ended. Local.

    Args:
        process: its number. For a process that can't be seen from here the answer is False.
    """
    if not process or (process >> START_BITS) % (1 << NAMESPACE_BITS) != _namespace():
        return False
    state = _state(process_id(process))
    return state is None or state[0] in "ZX" or state[1] != process % (1 << START_BITS)


def _namespace() -> int | None:
    """Return a number for the namespace of process ids, or None."""
    try:
        # /proc may be that of another namespace.
        if os.readlink(_PROC / "self") != str(os.getpid()):
            return None
        return crc32(os.readlink(_PROC / "self/ns/pid").encode()) % (1 << NAMESPACE_BITS)
    except OSError:
        return None


def _state(pid: int) -> tuple[str, int] | None:
    """Return the state of a process, and a number for the time of its start; None: there is none."""
    try:
        # The fields after the name; the name may hold anything, even brackets.
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], crc32(fields[19].encode()) % (1 << START_BITS)
