"""The trace of one averager: what it records, and how the ranks gather it in one file at the end."""

import contextlib
import itertools
import json
import logging
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from wagma_rma.protocol.events import Events
from wagma_rma.seeing.clocks import SAME, Alignment, aligned_hosts
from wagma_rma.seeing.trace import (
    OUTCOMES,
    SYNCHRONIZED,
    About,
    Recorded,
    Writer,
    heads,
    lines,
    path_of_rank,
    recorded,
    spans,
)

Test = Callable[[], bool]

logger = logging.getLogger("wagma_rma")

VARIABLE = "WAGMA_RMA_TRACE"
STEPS, FEWEST_STEPS = 20_000, 500  # that a rank keeps, the newest: if the ranks are few, and if they are many
STEPS_OF_ALL = 500_000
ALIGNED = 250  # synchronisations by which clocks are aligned, at least, if there are so many
BLOCK = 1 << 24  # bytes that one message moves at most

_from_environment = itertools.count(1)  # averagers of this process that the variable has traced
_abandoned: list[object] = []  # what MPI may still write into


def steps_kept(ranks: int) -> int:
    """Return how many steps each of so many ranks keeps."""
    return max(FEWEST_STEPS, min(STEPS, STEPS_OF_ALL // ranks))


def chosen_path(operation: str, trace: str | os.PathLike[str] | None) -> Path | None:
    """Return where the trace goes, or None. For rank 0, whose answer counts. Local.

    Args:
        trace: the option; None: what the environment variable WAGMA_RMA_TRACE says. A program that makes
            several averagers then gets run.json, run-2.json and so on for its value run.json, and
            run-from3.json where its rank 0 is rank 3 of the world.

    Raises:
        ValueError: no file can be made there.
    """
    named = trace if trace is not None else os.environ.get(VARIABLE) or None
    if named is None:
        return None
    path = Path(named).absolute()
    if not Path(named).name or not os.access(path.parent, os.W_OK) or path.is_dir():
        raise ValueError(
            f"{operation}: trace={str(named)!r}: rank 0 can't write such a file; pass a name in a folder "
            "that is there"
        )
    if trace is None:
        number, first = next(_from_environment), MPI.COMM_WORLD.rank
        name, dot, endings = path.name.partition(".")
        name += f"-{number}" if number > 1 else ""
        name += f"-from{first}" if first else ""
        path = path.with_name(f"{name}{dot}{endings}")
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
        wait: Callable[[Test], object],
    ) -> None:
        self._comm, self._path, self._about = comm, path, about
        self._events, self._group, self._wait = events, group, wait
        self._rank = comm.rank
        self._synchronizations: list[tuple[int, float, float]] = []  # (step, came, left)
        self._count, self._stride = 0, 1  # of synchronisations; of how many one is kept
        self._written = False
        self._under_way: Generator[Test, None, bool] | None = None
        self._test: Test | None = None  # what the gathering under way waits for
        self.missing: list[int] = []  # the ranks that it waits for

    def add_synchronization(
        self,
        step: int,
        began: float,
        came: float,
        left: float,
        ended: float,
        waited: float,
        skipped: int,
        moved: tuple[int, int],
    ) -> None:
        """Record a step of all ranks.

        Args:
            came: to its last barrier.
            left: that barrier.
            moved: bytes read of other ranks, and over a network.
        """
        number = OUTCOMES.index(SYNCHRONIZED)
        self._events.add_synchronization(step, began, ended, waited, skipped, *moved, number)
        if self._count % self._stride == 0:
            self._synchronizations.append((step, came, left))
        self._count += 1
        if len(self._synchronizations) == 2 * ALIGNED:
            # All ranks leave the same ones out.
            self._stride *= 2
            del self._synchronizations[1::2]

    @property
    def is_written(self) -> bool:
        """Whether this rank has nothing more to do."""
        return self._written

    def gather(self) -> None:
        """Write the file of the run, at rank 0. Collective: all have come to close(), and none has departed.

        If rank 0 can't write it, each rank writes a file of its own.

        Raises:
            BaseException: what ends a wait; the next call goes on with it.
        """
        if self._written:
            return
        self._under_way = self._under_way or self._phases()
        try:
            while True:
                if self._test is not None:
                    self._wait(self._test)
                self._test = next(self._under_way)
        except StopIteration as end:
            self._test = None
            if end.value:
                self._written = True
            else:
                self.write_own()

    def write_own(self) -> None:
        """Write the steps of this rank to a file of their own, where the run ends without close(). Local."""
        if self._written:
            return
        self._written = True
        if self._test is not None:
            _abandoned.append(self)  # MPI may still write into what a request has
        path = path_of_rank(self._path, self._rank)
        try:
            with Writer(path) as writer:
                writer.write(lines(itertools.chain(heads(self._about, [self._rank]), self._spans(SAME))))
                writer.end(self._described(0.0, self._recorded().left_out))
        except Exception as error:  # a run that ends has worse troubles
            logger.error("the trace %s can't be written: %r", path, error)

    def _phases(self) -> Generator[Test, None, bool]:
        """Gather the trace; yield a test of each request that has to be complete before what follows.

        Returns:
            Whether rank 0 has written it.
        """
        self.missing = [0]
        alignment, error = yield from self._align()
        part = b""
        try:
            part = lines(self._spans(alignment))
        except Exception as failure:  # the others wait for this rank's part
            logger.error("close: the trace of rank %d can't be made: %r", self._rank, failure)
        left_out, total = np.array([self._recorded().left_out]), np.zeros(1, np.int64)
        yield self._comm.Ireduce(left_out, total).Test
        good = np.ones(1, np.int64)
        if self._rank:
            size, data = np.array([len(part)], np.int64), np.frombuffer(part, np.uint8)
            yield self._comm.Isend(size, 0).Test
            for begin in range(0, len(data), BLOCK):
                yield self._comm.Isend(data[begin : begin + BLOCK], 0).Test
        else:
            good[0] = yield from self._write_all(part, error, int(total[0]))
        # A rank that is through may end its program, which would look like a death to the others: so all
        # wait.
        yield self._comm.Ibcast(good).Test
        yield self._comm.Ibarrier().Test
        return bool(good[0])

    def _align(self) -> Generator[Test, None, tuple[Alignment, float | None]]:
        """Return how this host's clock stands to that of host 0, and the error at all hosts, if known."""
        hosts = self._about.hosts
        if max(hosts) == 0:
            return SAME, 0.0
        own = np.full((2 * ALIGNED, 3), -1.0)
        if self._synchronizations:
            own[: len(self._synchronizations)] = self._synchronizations
        found = np.zeros((self._comm.size if self._rank == 0 else 0, *own.shape))
        yield self._comm.Igather(own, found).Test
        told = b""
        if self._rank == 0:
            try:
                told = json.dumps([each.as_lists() for each in aligned_hosts(hosts, found)]).encode()
            except Exception as failure:
                told = b"[]"
                logger.error("close: the clocks of a trace can't be aligned: %r", failure)
        size = np.array([len(told)], np.int64)
        yield self._comm.Ibcast(size).Test
        text = np.frombuffer(told, np.uint8).copy() if self._rank == 0 else np.empty(int(size[0]), np.uint8)
        yield self._comm.Ibcast(text).Test
        of_hosts = [Alignment.of_lists(*each) for each in json.loads(text.tobytes())]
        if not of_hosts:
            return SAME, None
        return of_hosts[hosts[self._rank]], max(each.error for each in of_hosts)

    def _write_all(self, own: bytes, error: float | None, left_out: int) -> Generator[Test, None, bool]:
        """Write the own part, then that of each other rank as it is received; receive them in any case.

        Returns:
            Whether the file is written.
        """
        failure: Exception | None = None
        with contextlib.ExitStack() as stack:
            try:
                writer = stack.enter_context(Writer(self._path))
                writer.write(lines(heads(self._about, range(self._about.ranks))))
                writer.write(own)
            except Exception as found:
                failure = found
            size = np.zeros(1, np.int64)
            for rank in range(1, self._about.ranks):
                self.missing = [rank]
                yield self._comm.Irecv(size, rank).Test
                left = int(size[0])
                while left:
                    part = np.empty(min(left, BLOCK), np.uint8)
                    yield self._comm.Irecv(part, rank).Test
                    left -= len(part)
                    try:
                        if failure is None:
                            writer.write(part.tobytes())
                    except Exception as found:
                        failure = found
            self.missing = []
            try:
                if failure is None:
                    writer.end(self._described(error, left_out))
            except Exception as found:
                failure = found
        if failure is not None:
            logger.error("close: the trace %s can't be written: %r", self._path, failure)
        return failure is None

    def _recorded(self) -> Recorded:
        return recorded(self._events, self._about.options["group_size"])

    def _spans(self, alignment: Alignment) -> Iterator[dict[str, Any]]:
        host = self._about.hosts[self._rank]
        behind = self._about.ranks + self._rank if self._about.options["overlap"] else None
        return spans(self._recorded(), self._rank, host, self._group, alignment, behind)

    def _described(self, error: float | None, left_out: int) -> dict[str, Any]:
        clock_error = None if error is None else error * 1e6
        return {"wagma_rma": self._about._asdict() | {"left_out": left_out, "clock_error_us": clock_error}}
