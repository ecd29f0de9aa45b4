"""A live table of all ranks' progress, printed by rank 0. No rank waits for another to keep it up to date."""

import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

POST_EVERY = 0.1  # seconds between the messages of a rank
REDRAW_EVERY = 0.2  # seconds, on a terminal
REPRINT_EVERY = 2.0  # seconds, elsewhere
DEFAULT_LINES = 24  # of a terminal that does not tell


class Progress(NamedTuple):
    """What a rank has done so far."""

    step: int
    loss: float
    fresh: int
    late: int
    missed: int
    synchronized: int
    waited: float  # seconds


def terminal() -> str | None:
    """Return the path of the terminal on which the output of rank 0 arrives, or None if it arrives elsewhere.

    On a terminal the table can be redrawn in place. The launcher's own output decides. A rank's output says
    nothing: it is a pipe under MPICH and a pseudo-terminal under Open MPI, wherever the launcher's goes.
    """
    if os.environ.get("TERM", "dumb") == "dumb":
        return None
    try:
        process, output = os.getppid(), os.readlink("/proc/self/fd/1")
        while process > 1:
            name = Path(f"/proc/{process}/comm").read_text()
            if name.startswith(("mpiexec", "mpirun", "prterun")):
                output = os.readlink(f"/proc/{process}/fd/1")
                break
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None
    return output if output.startswith(("/dev/pts/", "/dev/tty")) else None


def height(path: str) -> int:
    """Return the lines of a terminal as it is now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOCTTY)
        try:
            return os.get_terminal_size(descriptor).lines or DEFAULT_LINES
        finally:
            os.close(descriptor)
    except OSError:
        return DEFAULT_LINES


class Board:
    """The table. Every rank posts its progress; when rank 0 posts its own, it shows what has arrived.

    Args:
        comm: the ranks; duplicated, so that no other message is mistaken for progress.
        show: whether rank 0 prints the table.

    Making a board is collective, and so is close().
    """

    def __init__(self, comm: MPI.Intracomm, show: bool = True) -> None:
        self._comm = comm.Dup()
        self._show = show and comm.rank == 0
        self._terminal = terminal() if self._show else None
        self._known: list[Progress | None] = [None] * comm.size
        self._ended: set[int] = set()
        self._sent: list[tuple[MPI.Request, npt.NDArray[np.float64]]] = []
        self._began = time.monotonic()
        self._posted = self._drawn = self._began
        self._lines = 0

    def post(self, progress: Progress, last: bool = False) -> None:
        """Send progress to rank 0, at most once in POST_EVERY seconds. Local, never blocks.

        Args:
            last: whether the rank posts no more; this progress is always sent.
        """
        now = time.monotonic()
        if not last and now < self._posted + POST_EVERY:
            return
        self._posted = now
        if self._comm.rank:
            message = np.array([last, *progress], np.float64)
            self._sent = [sent for sent in self._sent if not sent[0].Test()]
            self._sent.append((self._comm.Isend(message, 0), message))
            return
        self._note(0, np.array([last, *progress], np.float64))
        while self._comm.Iprobe():
            self._receive()
        every = REDRAW_EVERY if self._terminal else REPRINT_EVERY
        if self._show and now >= self._drawn + every:
            self._drawn = now
            self._draw()

    def close(self) -> None:
        """Show the table for the last time. Collective: rank 0 waits for every rank's last post."""
        if self._comm.rank == 0:
            while len(self._ended) < self._comm.size:
                self._receive()
            if self._show:
                self._draw()
        MPI.Request.Waitall([request for request, _ in self._sent])
        self._comm.Free()

    def _receive(self) -> None:
        message = np.empty(1 + len(Progress._fields), np.float64)
        status = MPI.Status()
        self._comm.Recv(message, status=status)
        self._note(status.source, message)

    def _note(self, rank: int, message: npt.NDArray[np.float64]) -> None:
        last, step, loss, fresh, late, missed, synchronized, waited = message.tolist()
        self._known[rank] = Progress(
            int(step), loss, int(fresh), int(late), int(missed), int(synchronized), waited
        )
        if last:
            self._ended.add(rank)

    def _draw(self) -> None:
        seconds = time.monotonic() - self._began
        # The cursor stands below the table, on a line of its own.
        most = height(self._terminal) - 1 if self._terminal else None
        lines = table(seconds, self._known, most)
        if self._terminal:
            up = f"\x1b[{self._lines}A" if self._lines else ""
            # A table that has become shorter leaves nothing below it.
            print(up + "".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[J", end="", flush=True)
        else:
            print("\n".join(lines), flush=True)
        self._lines = len(lines)


def table(seconds: float, known: list[Progress | None], most: int | None) -> list[str]:
    """Return the lines of the table, of at most 80 columns.

    Args:
        seconds: since the first step.
        known: the progress of each rank, None for a rank that has not told any.
        most: how many lines there may be. If it is too few, the last one sums up the ranks that don't fit.
    """
    rows = [f"{rank:15}  {_row(progress)}" for rank, progress in enumerate(known)]
    if most is not None and 1 + len(rows) > most:
        shown = max(0, most - 2)
        rows[shown:] = [_summed_up(known[shown:])]
    return [f"{seconds:6.1f} s   rank    step      loss   fresh    late  missed    sync   waited", *rows]


def _summed_up(known: list[Progress | None]) -> str:
    told = [progress for progress in known if progress is not None]
    if not told:
        return f"    and {len(known)} more ranks (not heard of yet)"
    steps = [progress.step for progress in told]
    waited = sum(progress.waited for progress in told)
    return (
        f"    and {len(known)} more ranks, at steps {min(steps)} to {max(steps)}; "
        f"in all they waited {waited:.0f} s"
    )


def _row(progress: Progress | None) -> str:
    if progress is None:
        return "  (not heard of yet)"
    return (
        f"{progress.step:6}  {progress.loss:8.4f}  {progress.fresh:6}  {progress.late:6}  {progress.missed:6}"
        f"  {progress.synchronized:6}  {progress.waited:5.2f} s"
    )
