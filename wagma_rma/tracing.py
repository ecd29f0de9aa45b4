"""The trace of one averager: what it records, and how the ranks gather it in one file at the end."""

import itertools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from wagma_rma.protocol.events import Events
from wagma_rma.seeing.clocks import SAME, Alignment, alignments
from wagma_rma.seeing.trace import (
    OUTCOMES,
    SYNCHRONIZED,
    About,
    Writer,
    heads,
    lines,
    path_of_rank,
    recorded,
    spans,
)

logger = logging.getLogger("wagma_rma")

VARIABLE = "WAGMA_RMA_TRACE"
ALIGNED = 1000  # synchronisations by which clocks are aligned, the newest
BLOCK = 1 << 28  # bytes that one message moves at most

_from_environment = itertools.count(1)  # averagers of this process that the variable has traced


def chosen_path(trace: str | os.PathLike[str] | None) -> Path | None:
    """Return where the trace goes, or None. Local; the same at each rank for the n-th averager of a program.

    Args:
        trace: the option; None: what the environment variable WAGMA_RMA_TRACE says. A program that makes
        several
            averagers gets run.json, run-2.json and so on for its value run.json.
    """
    if trace is not None:
        return Path(trace)
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    path, number = Path(named), next(_from_environment)
    name, dot, endings = path.name.partition(".")
    return path if number == 1 else path.with_name(f"{name}-{number}{dot}{endings}")


def checked_path(operation: str, path: Path | None, rank: int) -> Path | None:
    """Return the path of a trace if it can be written. Local.

    Raises:
        ValueError: rank 0, which writes the file, has no such folder.
    """
    if path is not None and rank == 0 and not os.access(path.parent, os.W_OK):
        raise ValueError(
            f"{operation}: trace={str(path)!r}: there is no folder {str(path.parent)!r} in which rank 0 may "
            "write; make it, or pass another path"
        )
    return path


class Tracer:
    """Records the steps of one rank, and writes them at the end.

    Args:
        comm: of the averager.
        events: what the protocol records.
        group: returns the members of this rank's group at a step.
        wait: waits until a test is true, and raises what ends that wait.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        path: Path,
        about: About,
        events: Events,
        group: Callable[[int], tuple[int, ...]],
        wait: Callable[[Callable[[], bool]], object],
    ) -> None:
        self._comm, self._path, self._about = comm, path, about
        self._events, self._group, self._wait = events, group, wait
        self._rank = comm.rank
        self._synchronizations: list[tuple[float, float]] = []  # (came, left), all that count for alignment
        self._count = 0
        self._written = False

    def add_synchronization(
        self, step: int, began: float, came: float, left: float, ended: float, waited: float, skipped: int,
        moved: tuple[int, int],
    ) -> None:  # fmt: skip
        """Record a step of all ranks.

        Args:
            came: to its last barrier.
            left: that barrier.
            moved: bytes read of other ranks, and over a network.
        """
        number = OUTCOMES.index(SYNCHRONIZED)
        self._events.add_synchronization(step, began, ended, waited, skipped, *moved, number)
        self._count += 1
        self._synchronizations.append((came, left))
        del self._synchronizations[:-ALIGNED]

    def gather(self) -> None:
        """Write the file of the run, at rank 0. Collective: all ranks have come to close()."""
        if self._written:
            return
        self._written = True
        try:
            alignment, error = self._align()
            part = lines(self._spans(alignment))
            left_out = np.array([self._recorded().left_out])
            total = np.zeros(1, left_out.dtype)
            self._complete(self._comm.Ireduce(left_out, total))
            if self._rank == 0:
                self._write_all(part, error, int(total[0]))
            else:
                self._send(part)
        except OSError as failure:
            logger.error("close: the trace %s can't be written: %s", self._path, failure)
        # A rank that is through may end its program, which would look like a death to the others.
        self._complete(self._comm.Ibarrier())

    def write_own(self) -> None:
        """Write the steps of this rank to a file of their own, where the run ends without close(). Local."""
        if self._written:
            return
        self._written = True
        path = path_of_rank(self._path, self._rank)
        try:
            writer = Writer(path)
            writer.write(lines(itertools.chain(heads(self._about, [self._rank]), self._spans(SAME))))
            writer.close(self._described(0.0, self._recorded().left_out))
        except OSError as error:
            logger.error("the trace %s can't be written: %s", path, error)

    def _recorded(self) -> Any:
        return recorded(self._events, self._about.options["group_size"])

    def _spans(self, alignment: Alignment) -> Any:
        host = self._about.hosts[self._rank]
        behind = self._about.ranks + self._rank if self._about.options["overlap"] else None
        return spans(self._recorded(), self._rank, host, self._group, alignment, behind)

    def _align(self) -> tuple[Alignment, float | None]:
        """Return how this host's clock stands to that of host 0, and the error at all hosts, if known."""
        hosts = self._about.hosts
        if max(hosts) == 0:
            return SAME, 0.0
        count = np.array([len(self._synchronizations)])
        common = np.zeros_like(count)
        self._complete(self._comm.Iallreduce(count, common, MPI.MIN))
        if not common[0]:
            return SAME, None
        own = np.array(self._synchronizations[-int(common[0]) :]).T.copy()
        found = np.zeros((self._comm.size, *own.shape))
        self._complete(self._comm.Iallgather(own, found))
        of_hosts = alignments(hosts, found[:, 0], found[:, 1])
        return of_hosts[hosts[self._rank]], max(each.error for each in of_hosts)

    def _described(self, error: float | None, left_out: int) -> dict[str, Any]:
        clock_error = None if error is None else error * 1e6
        return {"wagma_rma": self._about._asdict() | {"left_out": left_out, "clock_error_us": clock_error}}

    def _write_all(self, own: bytes, error: float | None, left_out: int) -> None:
        """Write the own part, then that of each other rank as it is received; receive them in any case."""
        failure: OSError | None = None
        writer: Writer | None = None
        try:
            writer = Writer(self._path)
            writer.write(lines(heads(self._about, range(self._about.ranks))))
            writer.write(own)
        except OSError as found:
            failure = found
        for rank in range(1, self._about.ranks):
            for part in self._received(rank):
                if failure is None and writer is not None:
                    try:
                        writer.write(part)
                    except OSError as found:
                        failure = found
        if failure is None and writer is not None:
            writer.close(self._described(error, left_out))
        if failure is not None:
            raise failure

    def _received(self, rank: int) -> Any:
        size = np.zeros(1, np.int64)
        self._complete(self._comm.Irecv(size, rank))
        left = int(size[0])
        while left:
            part = np.empty(min(left, BLOCK), np.uint8)
            self._complete(self._comm.Irecv(part, rank))
            left -= len(part)
            yield part.tobytes()

    def _send(self, part: bytes) -> None:
        self._complete(self._comm.Isend(np.array([len(part)], np.int64), 0))
        data = np.frombuffer(part, np.uint8)
        for begin in range(0, len(data), BLOCK):
            self._complete(self._comm.Isend(data[begin : begin + BLOCK], 0))

    def _complete(self, request: MPI.Request) -> None:
        self._wait(request.Test)
