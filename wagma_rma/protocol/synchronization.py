"""The steps at which all ranks meet: the global mean, and the end of a run.

A rank announces in its `entered` word how far it has come, and loads the others' words; so each knows which
ranks it is waiting for. The sums are the MPI library's: a reduce-scatter and an allgather, so that every part
is summed once and all ranks hold the same bits (an allreduce does not promise that). A wait that a timeout or
Ctrl-C cuts short is continued by the next call.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, NoReturn

import numpy as np
from mpi4py import MPI

from wagma_rma.model.leaf_pointers import LeafPointers
from wagma_rma.mpi.agreement import describe, raise_described
from wagma_rma.protocol.announcements import Announcements
from wagma_rma.protocol.departures import Departures, RankLeft
from wagma_rma.protocol.protocol import Protocol
from wagma_rma.protocol.words import (
    ARRIVED,
    CLOSED,
    FAILED,
    KEEPS_WINDOW,
    PUBLISHED,
    entered_attempt,
    entered_stage,
    entered_step,
    pack_entered,
)
from wagma_rma.waiting.watch import Expectation, Watch

BLOCK = 1 << 28  # elements that one collective moves at most: MPI's counts are 32 bits wide

# Collectives that never complete, since a rank has left: MPI may still come to use their buffers.
abandoned: list[object] = []

Test = tuple[Callable[[], bool], float]  # a condition, and the longest sleep between two looks at it, seconds
FOR_RANKS = math.inf  # no limit but the waiter's own
FOR_MPI = 100e-6  # MPI moves data only while it is called


class StepMismatch(RuntimeError):
    """Ranks wait for each other at different steps."""


class Meeting(NamedTuple):
    """The synchronisation at which a rank that has joined takes part next."""

    step: int
    last: bool
    """Whether all ranks have joined, so that this is their last one."""


class EveryRank:
    """A test whether every rank has arrived; it looks only at ranks that had not arrived before.

    Args:
        still_missing: returns which of some ranks have not arrived.
    """

    def __init__(self, ranks: int, still_missing: Callable[[list[int]], list[int]]) -> None:
        self._still_missing = still_missing
        self.missing = list(range(ranks))

    def __call__(self) -> bool:
        self.missing = self._still_missing(self.missing)
        return not self.missing


class Synchronizer:
    """The synchronisations of one rank.

    Args:
        comm: a communicator of the averager's own.
        pointers: hold the model and the output of each synchronisation.
        step: the last synchronisation, at which all ranks are.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        protocol: Protocol,
        announcements: Announcements,
        departures: Departures,
        pointers: LeafPointers,
        watch: Watch,
        step: int,
    ) -> None:
        self._comm = comm
        self._waiter = protocol.window.waiter
        self._protocol = protocol
        self._words = announcements
        self._departures = departures
        self._pointers = pointers
        self._watch = watch
        self._last = step
        self._step = step
        self._under_way: Generator[Test, None, None] | None = None
        self._test: Test | None = None  # what the synchronisation under way waits for
        self._attempt = 0
        self._counted_on = False
        self._published = True
        self._refused = False
        self._failed = False  # the test that is waited for has raised an exception
        self._complete = False
        self._abandoned = False
        self._gone: set[tuple[int, int]] = set()  # (step, rank): members that had gone at an earlier look
        self._error: Exception | None = None
        self._farewell: int | None = None  # this rank's last word, chosen once: others act on it
        announcements.announce(pack_entered(step, 0, PUBLISHED))

    def synchronize(self, operation: str, step: int, error: Exception | None) -> float:
        """Give all ranks the mean of the models that `pointers` hold. Collective.

        Args:
            error: what this rank found wrong with its arguments; raised on all ranks.

        Returns:
            The seconds spent waiting.

        Raises:
            StepMismatch: a rank is at another step, or has closed.
            RankLeft: a rank will not take part.
            BaseException: what any rank found wrong with its arguments (then `refused` is true); or what a
                signal handler or the timeout has raised in a wait: the next call goes on with the
                synchronisation (`cut_short`). After any other exception it can't be completed.
        """
        if self._under_way is None:
            self._counted_on = self._published = self._refused = False
            self._complete = False
            self._step = step
            self._test = None
            self._under_way = self._phases(operation, step)
        elif self._counted_on and error is not None:
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
                    self._failed = False
                    self._waiter.raised = 0
                    self._watch.earlier += self._waiter.wait_for(self._look, self._test[1])
                    self._test = None  # it has come true
                self._test = next(self._under_way, None)
                if self._test is None:
                    break
            self._under_way = None
            if not self._complete:  # an exception has ended the generator before
                raise RuntimeError(f"{operation}: the synchronisation of step {step} was left half done")
        except BaseException as error:
            # Loading words is a wait too, where the memory of other hosts does not answer.
            interrupted = not self._failed or id(error) == self._waiter.raised
            in_wait = self._test is not None and interrupted
            if not in_wait or isinstance(error, (StepMismatch, RankLeft)):
                self._under_way = None
                if self._test is not None:
                    abandoned.append(self._test)
                    self._abandoned = True
            raise
        finally:
            self._error = None  # whose traceback keeps the caller's arrays
        self._last = step
        self._attempt = 0
        return self._watch.earlier

    def _look(self) -> bool:
        """Return whether what the synchronisation waits for has come true."""
        assert self._test is not None
        self._failed = True
        found = self._test[0]()
        self._failed = False
        return found

    @property
    def refused(self) -> bool:
        """Whether all ranks have refused the last synchronisation together, since one found an error."""
        return self._refused

    @property
    def abandoned(self) -> bool:
        """Whether a collective of MPI was begun that will never complete."""
        return self._abandoned

    @property
    def step(self) -> int:
        """The step of the newest synchronisation that has begun."""
        return self._step

    @property
    def cut_short(self) -> bool:
        """Whether a synchronisation has begun and is still to be completed."""
        return self._under_way is not None

    @property
    def counted_on(self) -> bool:
        """Whether the others count on this rank's part in a synchronisation that was cut short.

        They do from the moment in which they know that its arguments are right.
        """
        return self._under_way is not None and self._counted_on

    @property
    def missing(self) -> list[int] | None:
        """The ranks whose arrival the synchronisation waits for; None if it waits for something else."""
        test = self._test
        return test[0].missing if test and isinstance(test[0], EveryRank) else None

    @property
    def attempt(self) -> int:
        """How often all ranks have refused the next synchronisation together, since one found an error."""
        return self._attempt

    def close(self, keeps_arrays: bool) -> bool:
        """Wait until all ranks have reached the end; return whether any of them keeps the window. Collective.

        Ranks tell it by words, not by a collective of MPI, which an abandoned collective could match. A rank
        that can't go on after an error keeps its window and waits for nobody, since others may never come.

        Args:
            keeps_arrays: somebody still has arrays in this rank's window; what the first call says counts.

        Raises:
            RankLeft: a rank will not come.
        """
        self._departures.tell()
        if self._farewell is None:
            self._farewell = CLOSED + KEEPS_WINDOW * (keeps_arrays or self._departures.for_good)
        self._words.announce(self._farewell)
        if self._departures.for_good:
            return True
        open_ranks = partial(self._not_reached, CLOSED, range(self._comm.size))
        self._watch.expect(
            Expectation(
                lambda: f"close: rank {self._comm.rank}",
                open_ranks,
                lambda: self._departures.check("close", "closes its averager", open_ranks()),
                "call again to go on waiting, or end the run",
            )
        )
        self._watch.earlier += self._waiter.wait_for(self._every_rank(self._not_reached, CLOSED))
        return any(word & KEEPS_WINDOW for word in self._words.entered(range(self._comm.size)))

    def await_others(self, operation: str, step: int) -> Meeting:
        """Tell that this rank does no group steps after `step`; wait for the next synchronisation.

        That is the first one that another rank begins; or, when all ranks have joined, one more.

        Raises:
            StepMismatch, RankLeft: a rank has closed, or left.
            BaseException: what a signal handler or the timeout has raised; call again.
        """
        self._departures.join(step)
        everybody = range(self._comm.size)
        self._watch.expect(
            Expectation(
                lambda: f"{operation}: rank {self._comm.rank} after its last step {step}",
                lambda: [rank for rank, at in enumerate(self._joined(everybody)) if at < 0],
                lambda: self._departures.check(operation, f"has joined after step {step}", everybody),
                "call again with the same model to go on waiting, or end the run",
            )
        )
        found: list[Meeting] = []

        def look() -> bool:
            # `entered` first: a rank that begins the last synchronisation has seen that all have joined.
            words = self._words.entered(everybody)
            joined = self._joined(everybody)
            if min(joined) >= 0:
                found.append(Meeting(max(joined) + 1, True))
                return True
            for rank, word in enumerate(words):
                if word >= CLOSED:
                    self._name_cause(rank, operation, f"has joined after step {step}")
                    raise StepMismatch(
                        f"{operation}: rank {rank} has closed its averager while rank {self._comm.rank} "
                        f"waits in join() after step {step}; every rank must call join() before close()"
                    )
            begun = [entered_step(word) for word in words if entered_step(word) > step]
            if begun:
                found.append(Meeting(min(begun), False))
            return bool(begun)

        self._waiter.wait_for(look)
        return found[0]

    def count_joined(self, group: Sequence[int]) -> int:
        """Return how many of a group will not come to its steps, since they have called join()."""
        return sum(at >= 0 for at in self._joined(group))

    def _joined(self, ranks: Sequence[int]) -> list[int]:
        return self._departures.joined(ranks, self._last)

    def check_group(
        self, operation: str, step: int, group: tuple[int, ...], waits_for_record: bool = True
    ) -> None:
        """Raise if a member of a group that is at this step will never arrive there.

        Args:
            waits_for_record: whether this rank waits for its record to open, and so loads the record's state
                between two checks.

        Raises:
            StepMismatch: a member has closed, or synchronises this step or an earlier one.
            RankLeft: a member has left.
        """
        for rank, word in zip(group, self._words.entered(group), strict=True):
            # A rank that has published at this step has arrived, and may have completed it and closed
            # meanwhile.
            if word >= CLOSED and self._words.published([rank])[0] < step:
                self._name_cause(rank, operation, f"waits for its group at step {step}")
                raise StepMismatch(
                    f"{operation}: rank {rank} has closed its averager while rank {self._comm.rank} "
                    f"waits for its group at step {step}; every rank must make the same calls"
                )
            if self._waits_before(word, step):
                raise StepMismatch(
                    f"{operation}: rank {rank} synchronises step {entered_step(word)} while rank "
                    f"{self._comm.rank} waits for its group at step {step}; every rank must call "
                    "synchronize() at the same step"
                )
        waits = f"waits for its group at step {step}"
        try:
            self._departures.check(operation, waits, group)
        except RankLeft as left:
            # A member that has published may have done this step, and opened the record, which this rank then
            # finds open before the next check. (What a member publishes it publishes before it departs.)
            [published] = self._words.published([left.rank])
            if published < step or (step, left.rank) in self._gone:
                raise
            if waits_for_record:
                self._gone = {(step, left.rank), *(gone for gone in self._gone if gone[0] == step)}

    def _phases(self, operation: str, step: int) -> Generator[Test, None, None]:
        """Synchronise; yield a test of each condition that has to come true before the next phase."""
        # 1. All ranks arrive. They have left their group steps then, so nobody reads results.
        self._words.announce(pack_entered(step, self._attempt, ARRIVED))
        yield self._every_rank(self._not_arrived, operation, step), FOR_RANKS
        # 2. Each rank writes its model into its result 0, and tells whether its arguments were right.
        if self._error is None:
            self._protocol.snapshots.contribute(self._pointers)
        error, self._counted_on = self._error, True
        failed = np.array([0 if error is None else self._comm.size - self._comm.rank])
        yield self._comm.Iallreduce(MPI.IN_PLACE, failed, MPI.MAX).Test, FOR_MPI
        if failed[0]:
            self._words.announce(pack_entered(step, self._attempt, FAILED))
            self._attempt += 1
            rank = self._comm.size - int(failed[0])
            described = self._comm.bcast(None if error is None else describe(error), rank)
            self._refused = True
            raise_described(described, rank, error)
        # 3. MPI sums result 0 of all ranks into result 1.
        for ours, sums in zip(*map(self._protocol.snapshots.sums, (0, 1)), strict=True):
            for begin in range(0, len(ours), BLOCK):
                part = slice(begin, begin + BLOCK)
                yield from self._sum(np.asarray(ours)[part], np.asarray(sums)[part])
        # 4. Each publishes the mean. No rank may meet a snapshot from before this step, so all wait for all.
        self._protocol.snapshots.publish_mean(step)
        self._published = True
        published = pack_entered(step, self._attempt, PUBLISHED)
        self._words.announce(published)
        yield self._every_rank(self._not_published, operation, step, published), FOR_RANKS
        # 5. The mean goes into the output: only now, since a call that continues this one may bring another
        # output.
        self._protocol.snapshots.restore_all(self._pointers)
        self._complete = True

    def _sum(self, ours: np.ndarray[Any, Any], sums: np.ndarray[Any, Any]) -> Iterator[Test]:
        """Sum one array of all ranks: each rank sums a part, and all gather the parts."""
        bounds = [len(ours) * rank // self._comm.size for rank in range(self._comm.size + 1)]
        counts = [end - begin for begin, end in pairwise(bounds)]
        mine = sums[bounds[self._comm.rank] : bounds[self._comm.rank + 1]]
        yield self._comm.Ireduce_scatter(ours, mine, counts, MPI.SUM).Test, FOR_MPI
        yield self._comm.Iallgatherv(MPI.IN_PLACE, (sums, (counts, bounds[:-1]))).Test, FOR_MPI

    def _every_rank(self, still_missing: Callable[..., list[int]], *args: Any) -> EveryRank:
        return EveryRank(self._comm.size, partial(still_missing, *args))

    def _not_reached(self, entered: int, ranks: Sequence[int]) -> list[int]:
        """Return which of some ranks have not reached an `entered` word."""
        words = self._words.entered(ranks)
        return [rank for rank, word in zip(ranks, words, strict=True) if word < entered]

    def _not_published(self, operation: str, step: int, entered: int, ranks: Sequence[int]) -> list[int]:
        """Return which of some ranks have not published the mean; raise if one has closed without it."""
        words = dict(zip(ranks, self._words.entered(ranks), strict=True))
        closed = [rank for rank, word in words.items() if word >= CLOSED]
        for rank, published in zip(closed, self._words.published(closed), strict=True):
            if published < step:
                self._refuse_closed(operation, step, rank)
        return [rank for rank, word in words.items() if word < entered]

    def _not_arrived(self, operation: str, step: int, ranks: list[int]) -> list[int]:
        """Return which of some ranks have not arrived at a synchronisation; raise if one never will."""
        missing = []
        for rank, word in zip(ranks, self._words.entered(ranks), strict=True):
            if word >= CLOSED:
                self._refuse_closed(operation, step, rank)
            if entered_step(word) > step or self._waits_before(word, step - 1):
                raise StepMismatch(
                    f"{operation}: rank {rank} synchronises step {entered_step(word)} while rank "
                    f"{self._comm.rank} synchronises step {step}; every rank must call synchronize() at the "
                    "same step"
                )
            if word < pack_entered(step, self._attempt, ARRIVED):
                missing.append(rank)
        for rank, published in zip(missing, self._words.published(missing), strict=True):
            if published >= step:
                raise StepMismatch(
                    f"{operation}: rank {rank} averages at step {step} while rank {self._comm.rank} "
                    f"synchronises it; every rank must call synchronize() at the same step"
                )
        return missing

    def _missing(self, step: int) -> list[int]:
        """Return the ranks that have not arrived or, when all have, those that have not published."""
        for stage in (ARRIVED, PUBLISHED):
            missing = self._not_reached(pack_entered(step, self._attempt, stage), range(self._comm.size))
            if stage == PUBLISHED and self._comm.rank in missing:
                missing.remove(self._comm.rank)
            if missing:
                return missing
        return []

    def _waits_before(self, word: int, step: int) -> bool:
        """Return whether a rank with this word waits in a synchronisation after the last, up to `step`.

        A rank at an earlier attempt does not wait: all have refused that attempt, as it will soon learn.
        """
        waits = word < CLOSED and entered_stage(word) == ARRIVED and entered_attempt(word) >= self._attempt
        return waits and self._last < entered_step(word) <= step

    def _check_open(self, operation: str, step: int) -> None:
        """Raise if a rank that this synchronisation needs has closed, or has left."""
        published = pack_entered(step, self._attempt, PUBLISHED)
        lacking = []
        for rank, word in enumerate(self._words.entered(range(self._comm.size))):
            if word >= CLOSED and not self._published:
                self._refuse_closed(operation, step, rank)
            if word < published and rank != self._comm.rank:
                lacking.append(rank)
        self._departures.check(operation, f"synchronises step {step}", lacking)

    def _name_cause(self, rank: int, operation: str, waits: str) -> None:
        """Raise RankLeft if a rank that has closed had departed; name the rank that departed first."""
        if self._departures.have_departed([rank]):
            self._departures.check(operation, waits, range(self._comm.size))

    def _refuse_closed(self, operation: str, step: int, rank: int) -> NoReturn:
        """Raise what there is to say of a rank that has closed instead of synchronising a step."""
        self._name_cause(rank, operation, f"synchronises step {step}")
        raise StepMismatch(
            f"{operation}: rank {rank} has closed its averager while rank {self._comm.rank} "
            f"synchronises step {step}; every rank must make the same calls"
        )
