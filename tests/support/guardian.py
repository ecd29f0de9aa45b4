"""Ends what a test session has started, when that session ends in any way, SIGKILL too.

Run as a program it waits for the end of its input, which the session holds open, and then kills all processes
that have the session's mark in their environment.
"""

import atexit
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

NAME = "RANKS_SESSION"  # in the environment of all that is to end with the session
LIMIT = 10.0  # seconds: processes that outlive SIGKILL for longer are an error


def is_running(pid: int) -> bool:
    """Say whether a process has not ended; one that only waits to be reaped has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def marked(mark: str) -> list[int]:
    """Return the ids of the processes that have "NAME=value" in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{mark}\0".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def end_all(mark: str) -> None:
    """Kill all processes that have "NAME=value" in their environment."""
    deadline = time.monotonic() + LIMIT
    while left := marked(mark):
        assert time.monotonic() < deadline, f"processes {left} outlive SIGKILL"
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


class _Guardian:
    """The guardian of this process, once it has been needed."""

    def __init__(self) -> None:
        self.value = f"{os.getpid()}-{time.monotonic_ns()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-E", __file__, self.value],
                env={name: text for name, text in os.environ.items() if name != NAME},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def end(self) -> None:
        if self._process is not None:
            self._process.communicate()


_guardian = _Guardian()
atexit.register(_guardian.end)  # at import: what registers later is called earlier


def watched() -> str:
    """Start the guardian of this process, if there is none yet, and return the value of its mark."""
    _guardian.start()
    return _guardian.value


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_all(f"{NAME}={sys.argv[1]}")
