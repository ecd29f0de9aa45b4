"""The steps at which all ranks meet: the global mean, and the end of a run.

A rank says in its `entered` word what it has come to, and looks for the others' words; so each knows whom it
is waiting for. The sums are the MPI library's: a reduce-scatter and an allgather, so that every part is
summed once and all ranks hold the same bits (an allreduce does not promise that). A wait that was cut short,
by a timeout or Ctrl-C, is taken up where it was by the next call.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from mpi4py import MPI

from wagma_rma.mpi.agreement import raise_told, tell
from wagma_rma.model.leaf_pointers import LeafPointers
from wagma_rma.protocol.protocol import Protocol
from wagma_rma.waiting.watch import Expectation, Watch
from wagma_rma.windows.window import Window

# The `entered` word: step : 36 | attempt : 24 | stage : 2, above them zero. It only grows, so a step that all
# ranks refused together (FAILED) is tried again as another attempt.
ARRIVED, PUBLISHED, FAILED = 1, 2, 3
CLOSED = 1 << 62  # later than any step
KEEPS = 1  # added to CLOSED by a rank of which somebody still has arrays in the window
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


def _attempt(entered: int) -> int:
    return entered >> 2 & 0xFFFFFF


class StepMismatch(RuntimeError):
    """Ranks wait for each other at different steps."""


class EveryRank:
    """Whether every rank has come. A look is at all that had not come by the last one.

    Args:
        still_missing: which of some ranks have not come.
    """

    def __init__(self, ranks: int, still_missing: Callable[[list[int]], list[int]]) -> None:
        self._still_missing = still_missing
        self.missing = list(range(ranks))

    def __call__(self) -> bool:
        self.missing = self._still_missing(self.missing)
        return not self.missing


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
        pointers: LeafPointers,
        watch: Watch,
        step: int,
    ) -> None:
        self._comm = comm
        self._window = window
        self._protocol = protocol
        self._pointers = pointers
        self._watch = watch
        self._last = step
        self._under_way: Generator[Test, None, None] | None = None
        self._test: Test | None = None
        self._attempt = 0
        self._told = False  # the others know whether this rank's arguments are right
        self._published = True
        self._error: Exception | None = None
        self._leaves_with: int | None = None  # its last word, said once: others act on it
        protocol.announce(_entered(step, 0, PUBLISHED))

    def synchronize(self, operation: str, step: int, error: Exception | None) -> float:
        """Give all ranks the mean of the models that `pointers` hold. Collective.

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
                partial(self._check_open, operation, step),
                "call again with the same model to go on waiting, or end the run",
            )
        )
        try:
            while True:
                if self._test is not None:
                    self._watch.earlier += self._window.waiter.wait_for(*self._test)
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
        finally:
            self._error = None  # whose traceback keeps the caller's arrays
        return self._watch.earlier

    @property
    def cut_short(self) -> bool:
        """Whether a synchronisation has been begun and is still to be completed."""
        return self._under_way is not None

    @property
    def told(self) -> bool:
        """Whether the others count on this rank in the synchronisation that was cut short."""
        return self._under_way is not None and self._told

    def reached(self, ranks: Sequence[int]) -> list[int]:
        """Return the newest steps that some ranks are known to have reached. Local."""
        entered = [0 if word >= CLOSED else _step(word) for word in self._protocol.entered(ranks)]
        return list(map(max, entered, self._protocol.published(ranks)))

    def close(self, keeps: bool) -> bool:
        """Wait until all ranks have come to the end; return whether any of them keeps the window. Collective.

        No collective of MPI tells it: one that was abandoned could take part in it.

        Args:
            keeps: this rank does; what the first call says counts.
        """
        if self._leaves_with is None:
            self._leaves_with = CLOSED + KEEPS * keeps
        self._protocol.announce(self._leaves_with)
        self._watch.expect(
            Expectation(
                lambda: f"close: rank {self._comm.rank}",
                lambda: self._not_come_to(CLOSED, range(self._comm.size)),
                lambda: None,
                "call again to go on waiting, or end the run",
            )
        )
        self._watch.earlier += self._window.waiter.wait_for(self._every_rank(self._not_come_to, CLOSED))
        return any(word & KEEPS for word in self._protocol.entered(range(self._comm.size)))

    def _missing(self, step: int) -> list[int]:
        """Return the ranks that have not arrived or, when all have, those that have not published."""
        for stage in (ARRIVED, PUBLISHED):
            missing = self._not_come_to(_entered(step, self._attempt, stage), range(self._comm.size))
            if stage == PUBLISHED and self._comm.rank in missing:
                missing.remove(self._comm.rank)
            if missing:
                return missing
        return []

    def _phases(self, operation: str, step: int) -> Generator[Test, None, None]:
        """Synchronise, yielding a test of whatever has to come true before it goes on."""
        self._protocol.announce(_entered(step, self._attempt, ARRIVED))
        yield self._every_rank(self._not_arrived, operation, step), FOR_RANKS
        # All have left their group steps, so nobody reads results.
        if self._error is None:
            self._protocol.snapshots.contribute(self._pointers)
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
        yield self._every_rank(self._not_come_to, published), FOR_RANKS
        # Only now: a call that takes up this one may bring another output.
        self._protocol.snapshots.restore_all(self._pointers)

    def _sum(self, ours: np.ndarray[Any, Any], sums: np.ndarray[Any, Any]) -> Iterator[Test]:
        bounds = [len(ours) * rank // self._comm.size for rank in range(self._comm.size + 1)]
        counts = [end - begin for begin, end in pairwise(bounds)]
        mine = sums[bounds[self._comm.rank] : bounds[self._comm.rank + 1]]
        yield self._comm.Ireduce_scatter(ours, mine, counts, MPI.SUM).Test, FOR_MPI
        yield self._comm.Iallgatherv(MPI.IN_PLACE, (sums, (counts, bounds[:-1]))).Test, FOR_MPI

    def _every_rank(self, still_missing: Callable[..., list[int]], *args: Any) -> EveryRank:
        return EveryRank(self._comm.size, partial(still_missing, *args))

    def _not_come_to(self, entered: int, ranks: Sequence[int]) -> list[int]:
        words = self._protocol.entered(ranks)
        return [rank for rank, word in zip(ranks, words, strict=True) if word < entered]

    def _not_arrived(self, operation: str, step: int, ranks: list[int]) -> list[int]:
        """Return which of some ranks have not arrived; raise if one will not."""
        missing = []
        for rank, word in zip(ranks, self._protocol.entered(ranks), strict=True):
            if word >= CLOSED:
                raise self._has_closed(operation, step, rank)
            if _step(word) > step or self._waits_before(word, step - 1):
                raise StepMismatch(
                    f"{operation}: rank {rank} synchronises step {_step(word)} while rank {self._comm.rank} "
                    f"synchronises step {step}; every rank must call synchronize() at the same step"
                )
            if word < _entered(step, self._attempt, ARRIVED):
                missing.append(rank)
        for rank, published in zip(missing, self._protocol.published(missing), strict=True):
            if published >= step:
                raise StepMismatch(
                    f"{operation}: rank {rank} averages at step {step} while rank {self._comm.rank} "
                    f"synchronises it; every rank must call synchronize() at the same step"
                )
        return missing

    def _waits_before(self, word: int, step: int) -> bool:
        """Say whether a rank with this word synchronises since the last synchronisation, by `step`.

        A rank of an earlier attempt does not: that has been refused, and the rank is about to learn it.
        """
        waits = word < CLOSED and word & 3 == ARRIVED and _attempt(word) >= self._attempt
        return waits and self._last < _step(word) <= step

    def _check_open(self, operation: str, step: int) -> None:
        """Raise if a rank has left for good that is needed to synchronise."""
        for rank, word in enumerate(
            [] if self._published else self._protocol.entered(range(self._comm.size))
        ):
            if word >= CLOSED:
                raise self._has_closed(operation, step, rank)

    def _has_closed(self, operation: str, step: int, rank: int) -> StepMismatch:
        return StepMismatch(
            f"{operation}: rank {rank} has closed its averager while rank {self._comm.rank} "
            f"synchronises step {step}; every rank must make the same calls"
        )

    def check_group(self, operation: str, step: int, group: tuple[int, ...]) -> None:
        """Raise if a member of a group that waits for its quorum will not come to this step."""
        for rank, word in zip(group, self._protocol.entered(group), strict=True):
            # Whoever has published at this step has come to it, and may have done it and closed meanwhile.
            if word >= CLOSED and self._protocol.published([rank])[0] < step:
                raise StepMismatch(
                    f"{operation}: rank {rank} has closed its averager while rank {self._comm.rank} "
                    f"waits for its group at step {step}; every rank must make the same calls"
                )
            if self._waits_before(word, step):
                raise StepMismatch(
                    f"{operation}: rank {rank} synchronises step {_step(word)} while rank {self._comm.rank} "
                    f"waits for its group at step {step}; every rank must call synchronize() at the same step"
                )
