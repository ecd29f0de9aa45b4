"""The steps at which all ranks meet: the global mean, and the end of a run.

A rank says in its `entered` word what it has come to, and looks for the others' words; so each knows whom it
is waiting for. The sums are the MPI library's: a reduce-scatter and an allgather, so that every part is
summed once and all ranks hold the same bits (an allreduce does not promise that). A wait that was cut short,
by a timeout or Ctrl-C, is taken up where it was by the next call.
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from mpi4py import MPI

from wagma_rma.agreement import raise_told, tell
from wagma_rma.pieces import Pieces
from wagma_rma.protocol import Protocol
from wagma_rma.watch import Expectation, Watch
from wagma_rma.window import Window

# The `entered` word: step : 36 | attempt : 24 | stage : 2, above them zero. It only grows, so a step that all
# ranks refused together (FAILED) is tried again as another attempt.
ARRIVED, PUBLISHED, FAILED = 1, 2, 3
CLOSED = 1 << 62  # later than any step
BLOCK = 1 << 28  # elements a collective takes at a time: MPI's counts are 32 bits wide

# Collectives that never end, since a rank has left: MPI may still come to use their buffers.
abandoned: list[object] = []

Test = tuple[Callable[[], bool], float]  # and the longest sleep between two looks, seconds
FOR_RANKS = math.inf  # the window's
FOR_MPI = 100e-6  # it moves data only while it is being asked


def _entered(step: int, attempt: int, stage: int) -> int:
    return step << 26 | attempt << 2 | stage


def _step(entered: int) -> int:
    return entered >> 26


class StepMismatch(RuntimeError):
    """Ranks wait for each other at different steps."""


class Synchronizer:
    """The synchronising steps of one rank.

    Args:
        comm: a communicator of the averager's own.
        step: the last synchronisation, at which all ranks are.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        window: Window,
        protocol: Protocol,
        pieces: Pieces,
        watch: Watch,
        step: int,
    ) -> None:
        self._comm = comm
        self._window = window
        self._protocol = protocol
        self._pieces = pieces
        self._watch = watch
        self._last = step
        self._under_way: Generator[Test, None, None] | None = None
        self._test: Test | None = None
        self._attempt = 0
        self._told = False  # the others know whether this rank's arguments are right
        self._published = True
        self._error: Exception | None = None
        protocol.announce(_entered(step, 0, PUBLISHED))

    def synchronize(self, operation: str, step: int, error: Exception | None) -> float:
        """Give all ranks the mean of the models that `pieces` hold. Collective.

        Args:
            error: what this rank found wrong with its arguments; raised on all ranks.

        Returns:
            The seconds spent waiting.
        """
        if self._under_way is None:
            self._told = self._published = False
            self._under_way = self._phases(operation, step)
            self._test = None
        elif self._told and error is not None:
            raise error  # the others have been told that all is well: the next call can still make it so
        self._error = error
        self._watch.expect(
            Expectation(
                lambda: f"{operation}: rank {self._comm.rank} at step {step}",
                lambda: self._missing(step),
                partial(self._check_open, operation, step, range(self._comm.size)),
                "call again with the same model to go on waiting, or end the run",
            )
        )
        try:
            while True:
                if self._test is not None:
                    self._watch.earlier += self._window.wait_for(*self._test)
                    self._test = None  # it has come true
                self._test = next(self._under_way)
        except StopIteration:
            self._under_way = None
            self._last = step
            self._attempt = 0
        except (TimeoutError, KeyboardInterrupt):
            raise  # to be taken up again
        except BaseException:
            self._under_way = None
            if self._test is not None:
                abandoned.append(self._test)
            raise
        return self._watch.earlier

    @property
    def cut_short(self) -> bool:
        """Whether a synchronisation has been begun and is still to be completed."""
        return self._under_way is not None

    @property
    def told(self) -> bool:
        """Whether the others count on this rank in the synchronisation that was cut short."""
        return self._under_way is not None and self._told

    def reached(self, rank: int) -> int:
        """Return the newest step that a rank is known to have reached. Local."""
        entered = self._protocol.entered(rank)
        return max(self._protocol.published(rank), 0 if entered >= CLOSED else _step(entered))

    def close(self) -> None:
        """Wait until all ranks have come to the end. Collective."""
        self._protocol.announce(CLOSED)
        self._watch.expect(
            Expectation(
                lambda: f"close: rank {self._comm.rank}",
                lambda: [r for r in range(self._comm.size) if self._protocol.entered(r) < CLOSED],
                lambda: None,
                "call again to go on waiting, or end the run",
            )
        )
        for rank in range(self._comm.size):
            self._watch.earlier += self._window.wait_for(partial(self._has_entered, CLOSED, rank))

    def _missing(self, step: int) -> list[int]:
        """Return the ranks that have not arrived or, when all have, those that have not published."""
        words = [self._protocol.entered(rank) for rank in range(self._comm.size)]
        for stage in (ARRIVED, PUBLISHED):
            come_to = _entered(step, self._attempt, stage)
            missing = [rank for rank, word in enumerate(words) if word < come_to]
            if stage == PUBLISHED and self._comm.rank in missing:
                missing.remove(self._comm.rank)
            if missing:
                return missing
        return []

    def _phases(self, operation: str, step: int) -> Generator[Test, None, None]:
        """Synchronise, yielding a test of whatever has to come true before it goes on."""
        self._protocol.announce(_entered(step, self._attempt, ARRIVED))
        for rank in range(self._comm.size):
            yield partial(self._arrived, operation, rank, step), FOR_RANKS
        # All have left their group steps, so nobody reads results.
        if self._error is None:
            self._protocol.snapshots.contribute(self._pieces)
        error, self._told = self._error, True
        failed = np.array([0 if error is None else self._comm.size - self._comm.rank])
        yield self._comm.Iallreduce(MPI.IN_PLACE, failed, MPI.MAX).Test, FOR_MPI
        if failed[0]:
            self._protocol.announce(_entered(step, self._attempt, FAILED))
            self._attempt += 1
            rank = self._comm.size - int(failed[0])
            raise_told(self._comm.bcast(None if error is None else tell(error), rank), rank, error)
        for ours, sums in zip(*map(self._protocol.snapshots.sums, (0, 1)), strict=True):
            for begin in range(0, len(ours), BLOCK):
                part = slice(begin, begin + BLOCK)
                yield from self._sum(np.asarray(ours)[part], np.asarray(sums)[part])
        self._protocol.snapshots.publish_mean(step)
        self._published = True
        published = _entered(step, self._attempt, PUBLISHED)
        self._protocol.announce(published)
        # Nobody may meet a snapshot from before this synchronisation, so all must have published.
        for rank in range(self._comm.size):
            yield partial(self._has_entered, published, rank), FOR_RANKS
        # Only now: a call that takes up this one may bring another output.
        self._protocol.snapshots.restore_all(self._pieces)

    def _sum(self, ours: np.ndarray[Any, Any], sums: np.ndarray[Any, Any]) -> Iterator[Test]:
        bounds = [len(ours) * rank // self._comm.size for rank in range(self._comm.size + 1)]
        counts = [end - begin for begin, end in pairwise(bounds)]
        mine = sums[bounds[self._comm.rank] : bounds[self._comm.rank + 1]]
        yield self._comm.Ireduce_scatter(ours, mine, counts, MPI.SUM).Test, FOR_MPI
        yield self._comm.Iallgatherv(MPI.IN_PLACE, (sums, (counts, bounds[:-1]))).Test, FOR_MPI

    def _has_entered(self, word: int, rank: int) -> bool:
        return self._protocol.entered(rank) >= word

    def _arrived(self, operation: str, rank: int, step: int) -> bool:
        word = self._protocol.entered(rank)
        at = _step(word)
        self._check_open(operation, step, [rank])
        if at > step or self._waits_before(rank, step - 1):
            raise StepMismatch(
                f"{operation}: rank {rank} synchronises step {at} while rank {self._comm.rank} "
                f"synchronises step {step}; every rank must call synchronize() at the same step"
            )
        if word >= _entered(step, self._attempt, ARRIVED):
            return True
        if self._protocol.published(rank) >= step:
            raise StepMismatch(
                f"{operation}: rank {rank} averages at step {step} while rank {self._comm.rank} "
                f"synchronises it; every rank must call synchronize() at the same step"
            )
        return False

    def _waits_before(self, rank: int, step: int) -> bool:
        """Say whether a rank is synchronising since the last synchronisation, at `step` or before."""
        word = self._protocol.entered(rank)
        return word < CLOSED and word & 3 == ARRIVED and self._last < _step(word) <= step

    def _check_open(self, operation: str, step: int, ranks: Iterable[int]) -> None:
        """Raise if a rank has left for good that is needed to synchronise."""
        for rank in () if self._published else ranks:
            if self._protocol.entered(rank) >= CLOSED:
                raise StepMismatch(
                    f"{operation}: rank {rank} has closed its averager while rank {self._comm.rank} "
                    f"synchronises step {step}; every rank must make the same calls"
                )

    def check_group(self, operation: str, step: int, group: tuple[int, ...]) -> None:
        """Raise if a member of a group that waits for its quorum will not come to this step."""
        for rank in group:
            # Whoever has published at this step has come to it, and may have done it and closed meanwhile.
            if self._protocol.entered(rank) >= CLOSED and self._protocol.published(rank) < step:
                raise StepMismatch(
                    f"{operation}: rank {rank} has closed its averager while rank {self._comm.rank} "
                    f"waits for its group at step {step}; every rank must make the same calls"
                )
            if self._waits_before(rank, step):
                raise StepMismatch(
                    f"{operation}: rank {rank} synchronises step {_step(self._protocol.entered(rank))} while "
                    f"rank {self._comm.rank} waits for its group at step {step}; every rank must call "
                    "synchronize() at the same step"
                )
