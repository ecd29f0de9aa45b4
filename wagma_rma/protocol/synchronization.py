"""The steps at which all ranks meet: the global mean, and the end of a run.

A synchronisation is a sequence of phases (`Synchronizer._phases`), with a wait before each: two barriers of
all ranks (``barrier``), and between them the sums (``reduction``). No rank waits inside MPI. A wait that a
timeout or Ctrl-C cuts short is continued by the next call.

A rank also announces in its own `entered` word how far it has come. The others look at these words where a
wait takes long: for a warning, at the timeout, and to find a rank that will never come.
"""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import NoReturn

from wagma_rma.model.leaf_pointers import LeafPointers
from wagma_rma.mpi.agreement import describe, raise_described
from wagma_rma.protocol.announcements import Announcements
from wagma_rma.protocol.barrier import MISMATCH, Barrier
from wagma_rma.protocol.departures import Departures, RankLeft
from wagma_rma.protocol.protocol import Protocol
from wagma_rma.protocol.reduction import Reduction
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

LOOKED_AT = 256  # ranks that a long wait looks at each time, one after the other
LOOP = "where ranks skip steps, loop `while averager.step < steps`, not for a number of calls"  # in errors

Test = Callable[[], bool]


class StepMismatch(RuntimeError):
    """Ranks wait for each other at different steps."""


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
        barrier, reduction: over the same window.
        pointers: hold the model and the output of each synchronisation.
        step: the last synchronisation, at which all ranks are.
    """

    def __init__(
        self,
        protocol: Protocol,
        barrier: Barrier,
        reduction: Reduction,
        announcements: Announcements,
        departures: Departures,
        pointers: LeafPointers,
        watch: Watch,
        step: int,
    ) -> None:
        self._rank = protocol.window.rank
        self._everybody = range(protocol.window.ranks)
        self._waiter = protocol.window.waiter
        self._snapshots = protocol.snapshots
        self._barrier = barrier
        self._reduction = reduction
        self._words = announcements
        self._departures = departures
        self._pointers = pointers
        self._watch = watch
        self.came = 0.0  # to the barrier that ends a synchronisation, seconds on the clock
        self._last = step
        self._step = step
        self._joined_at: int | None = None  # the last group step of a rank in join()
        self._told_joined = False
        self._all_joined = False
        self._under_way: Generator[Test, None, None] | None = None
        self._test: Test | None = None  # what the synchronisation under way waits for
        self._attempt = 0
        self._round: int | None = None  # of the sums, that is waited for
        self._arrived = False
        self._counted_on = False
        self._refused = False
        self._failed = False  # the test that is waited for has raised an exception
        self._complete = False
        self._calls = 0  # of synchronize(), for the synchronisation under way
        self._next_looked_at = 0
        self._gone: set[tuple[int, int]] = set()  # (step, rank): members that had gone at an earlier look
        self._error: Exception | None = None
        self._farewell: int | None = None  # this rank's last word, chosen once: others act on it
        announcements.announce(pack_entered(step, 0, PUBLISHED))

    def synchronize(
        self,
        operation: str,
        step: int,
        error: Exception | None,
        joined: bool = False,
        calls: bool = False,
    ) -> float:
        """Give all ranks the mean of the models that `pointers` hold. Collective.

        Args:
            step: that is synchronised; the last group step of this rank, if it has joined.
            error: what this rank found wrong with its arguments; raised on all ranks.
            joined: this rank has joined: it goes to the next synchronisation of the others, whose step is
                `step` afterwards; or to the last one, when all have joined (`all_joined`).
            calls: a quorum of arrivals calls the others to this step.

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
            self._arrived = self._counted_on = self._refused = self._complete = self._all_joined = False
            self._joined_at = step if joined else None
            self._round = None
            self._calls = 0
            self._step = step
            self._test = None
            self._under_way = self._phases(operation, calls)
        elif self._arrived and error is not None:
            raise error  # this rank has arrived without an error: the next call can still make it so
        self._calls += 1
        self._error = error
        if self._joined_at is None:
            expected = f"{operation}: rank {self._rank} at step {step}"
        else:
            expected = f"{operation}: rank {self._rank} after its last step {self._joined_at}"
        self._watch.expect(
            Expectation(
                lambda: expected,
                self._missing,
                partial(self._check_open, operation),
                "call again with the same model to go on waiting, or end the run",
            )
        )
        try:
            while True:
                if self._test is not None:
                    self._failed = False
                    self._waiter.raised = 0
                    self._watch.earlier += self._waiter.wait_for(self._look)
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
            in_wait = self._test is not None and interrupted and not self._barrier.lost
            if not in_wait or isinstance(error, (StepMismatch, RankLeft)):
                self._under_way = None
            raise
        finally:
            self._error = None  # whose traceback keeps the caller's arrays
        self._last = self._step
        self._attempt = 0
        return self._watch.earlier

    def _look(self) -> bool:
        """Return whether what the synchronisation waits for has come true."""
        assert self._test is not None
        self._failed = True
        found = self._test()
        self._failed = False
        return found

    @property
    def refused(self) -> bool:
        """Whether all ranks have refused the last synchronisation together, since one found an error."""
        return self._refused

    @property
    def step(self) -> int:
        """The step of the newest synchronisation that has begun."""
        return self._step

    @property
    def all_joined(self) -> bool:
        """Whether all ranks had joined at the last synchronisation, so that join() is over."""
        return self._all_joined

    @property
    def cut_short(self) -> bool:
        """Whether a synchronisation has begun and is still to be completed."""
        return self._under_way is not None

    @property
    def counted_on(self) -> bool:
        """Whether the others count on this rank's part in a synchronisation that was cut short.

        They do from the moment in which all have arrived.
        """
        if self._under_way is None or not self._arrived:
            return False
        self._counted_on = self._counted_on or self._barrier.is_over()
        return self._counted_on

    @property
    def awaits_arrivals(self) -> bool:
        """Whether the synchronisation waits for ranks to arrive."""
        return self._test is not None and self._arrived and not self._counted_on

    @property
    def attempt(self) -> int:
        """How often all ranks have refused the next synchronisation together, since one found an error."""
        return self._attempt

    @property
    def bytes_moved(self) -> tuple[int, int]:
        """The bytes that this rank has read of others in the last synchronisation, and over a network."""
        return self._reduction.bytes_read, self._reduction.bytes_over_network

    def close(self, keeps_arrays: bool) -> bool:
        """Wait until all ranks have reached the end; return whether any of them keeps the window. Collective.

        A rank that can't go on after an error keeps its window and waits for nobody, since others may never
        come.

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
        open_ranks = partial(self._not_reached, CLOSED, self._everybody)
        self._watch.expect(
            Expectation(
                lambda: f"close: rank {self._rank}",
                open_ranks,
                lambda: self._departures.check("close", "closes its averager", open_ranks()),
                "call again to go on waiting, or end the run",
            )
        )
        self._watch.earlier += self._waiter.wait_for(
            EveryRank(len(self._everybody), partial(self._not_reached, CLOSED))
        )
        return any(word & KEEPS_WINDOW for word in self._words.entered(self._everybody))

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
            # meanwhile. One that found no free slot has not published, but completed it all the same.
            if (
                word >= CLOSED
                and self._words.published([rank])[0] < step
                and self._had_gone(step, rank, waits_for_record)
            ):
                self._name_cause(rank, operation, f"waits for its group at step {step}")
                raise StepMismatch(
                    f"{operation}: rank {rank} has closed its averager while rank {self._rank} "
                    f"waits for its group at step {step}; every rank must make the same calls"
                )
            if self._waits_before(word, step):
                raise StepMismatch(
                    f"{operation}: rank {rank} synchronises step {entered_step(word)} while rank "
                    f"{self._rank} waits for its group at step {step}; every rank must call "
                    "synchronize() at the same step"
                )
        waits = f"waits for its group at step {step}"
        try:
            self._departures.check(operation, waits, group)
        except RankLeft as left:
            # What a member publishes it publishes before it departs.
            [published] = self._words.published([left.rank])
            if published < step or self._had_gone(step, left.rank, waits_for_record):
                raise

    def _had_gone(self, step: int, rank: int, waits_for_record: bool) -> bool:
        """Return whether a member had gone already at an earlier check of the same wait for a record.

        A member that goes may have done the step. The record is open then, which this rank finds before its
        next check. In other waits of a step nobody is needed who has gone.
        """
        if (step, rank) in self._gone:
            return True
        if waits_for_record:
            self._gone = {(step, rank), *(gone for gone in self._gone if gone[0] == step)}
        return False

    def _phases(self, operation: str, calls: bool) -> Generator[Test, None, None]:
        """Synchronise; yield a test of each condition that has to come true before the next phase."""
        # 1. Each rank puts its model where the others will read it, or tells what it has found wrong.
        joined, error = self._joined_at is not None, self._error
        if self._joined_at is not None:
            self._departures.join(self._joined_at)
        number = self._barrier.number + 1
        if error is None:
            yield self._snapshots.has_free_slot
            error = self._error
        if error is None:
            self._reduction.contribute(number, self._pointers)
        else:
            self._words.tell_error(number, "\n".join(describe(error)))
        came_in = self._calls
        # 2. All ranks arrive. They have left their group steps then, so nobody reads results.
        if not joined:
            self._words.announce(pack_entered(self._step, self._attempt, ARRIVED))
        joining = int(joined and not self._told_joined)
        self._told_joined = joined
        self._barrier.arrive(self._step + joined, self._last, not joined, error is not None, joining, calls)
        self._arrived = True
        yield self._barrier.is_over
        self._counted_on = True
        if self._barrier.refuser == MISMATCH:
            self._raise_mismatch(operation)
        if joined:
            self._step = self._barrier.step
            self._words.announce(pack_entered(self._step, self._attempt, ARRIVED))
        if self._barrier.refuser >= 0:
            self._refuse(error)
        # 3. Sums: within the host, between hosts, and the way back.
        self._reduction.sum_host(self._calls == came_in, self._pointers)
        for number in range(self._reduction.rounds):
            self._round = number
            yield partial(self._reduction.is_performed, number)
        self._reduction.tell_summed()
        self._round = self._reduction.rounds
        yield self._reduction.is_summed
        self._round = None
        # 4. Each rank publishes the mean. No rank may meet a snapshot from before this step, or overwrite
        # sums that others still read: all wait for all.
        self._reduction.collect(self._step, self._calls == came_in, self._pointers)
        calls_before = self._calls
        self._all_joined = self._barrier.all_joined
        leaving = -int(joined and self._all_joined)
        self.came = self._waiter.time()
        self._barrier.arrive(self._step, self._last, joining=leaving)
        self._told_joined = joined and not self._all_joined
        self._words.announce(pack_entered(self._step, self._attempt, PUBLISHED))
        yield self._barrier.is_over
        self._snapshots.free_reserved()
        if self._calls > calls_before:
            # Another call has continued this one, perhaps with another output.
            self._snapshots.restore_all(self._pointers)
        self._complete = True

    def _refuse(self, error: Exception | None) -> NoReturn:
        """Raise what a rank has found wrong with its arguments; all ranks do."""
        number, rank = self._barrier.number, self._barrier.refuser
        name, _, text = self._words.told_error(rank, number).partition("\n")
        self._words.announce(pack_entered(self._step, self._attempt, FAILED))
        self._snapshots.free_reserved()
        self._attempt += 1
        self._refused = True
        raise_described((name, text), rank, error)

    def _not_reached(self, entered: int, ranks: Sequence[int]) -> list[int]:
        """Return which of some ranks have not reached an `entered` word."""
        words = self._words.entered(ranks)
        return [rank for rank, word in zip(ranks, words, strict=True) if word < entered]

    def _missing(self) -> list[int]:
        """Return the ranks that the synchronisation under way waits for."""
        if self._joined_at is not None and not self._counted_on:
            return [rank for rank, at in enumerate(self._joined(self._everybody)) if at < 0]
        if self._round is not None:
            return self._reduction.missing(self._round)
        stage = PUBLISHED if self._counted_on else ARRIVED
        missing = self._not_reached(pack_entered(self._step, self._attempt, stage), self._everybody)
        if not self._counted_on:
            joined = self._joined(missing)
            missing = [rank for rank, at in zip(missing, joined, strict=True) if at < 0]
        return [rank for rank in missing if rank != self._rank]

    def _check_open(self, operation: str) -> None:
        """Raise if a rank that this synchronisation needs is at another step, has closed, or has left.

        Looks at some ranks each time, in turns.
        """
        first = self._next_looked_at
        ranks = self._everybody[first : first + LOOKED_AT]
        self._next_looked_at = 0 if ranks[-1] == self._everybody[-1] else ranks[-1] + 1
        in_join = self._joined_at is not None and not self._counted_on
        waits = f"has joined after step {self._joined_at}" if in_join else f"synchronises step {self._step}"
        published = CLOSED if in_join else pack_entered(self._step, self._attempt, PUBLISHED)
        words = dict(zip(ranks, self._words.entered(ranks), strict=True))
        closed = [rank for rank, word in words.items() if word >= CLOSED]
        lacking = [rank for rank, word in words.items() if word < published and rank != self._rank]
        try:
            for rank in closed:
                self._refuse_closed(operation, waits, rank)
            if not in_join and not self._counted_on:
                self._check_steps(operation, words)
            self._departures.check(operation, waits, lacking)
        except (StepMismatch, RankLeft) as error:
            # A rank whose part is done may have gone on since, and closed.
            gone = [*closed, error.rank] if isinstance(error, RankLeft) else [*closed, self._rank]
            if not any(self._barrier.next_is_over(rank) for rank in gone):
                raise

    def _check_steps(self, operation: str, words: dict[int, int]) -> None:
        """Raise StepMismatch if one of some ranks will not arrive at the step of this synchronisation.

        Args:
            words: the `entered` word of each.
        """
        step, missing = self._step, []
        for rank, word in words.items():
            if word < CLOSED and (entered_step(word) > step or self._waits_before(word, step - 1)):
                self._raise_at_other_step(operation, rank, word)
            if word < pack_entered(step, self._attempt, ARRIVED):
                missing.append(rank)
        for rank, published in zip(missing, self._words.published(missing), strict=True):
            if published >= step:
                raise StepMismatch(
                    f"{operation}: rank {rank} averages at step {step} while rank {self._rank} "
                    f"synchronises it; {self._cure}"
                )

    def _raise_at_other_step(self, operation: str, rank: int, word: int) -> NoReturn:
        raise StepMismatch(
            f"{operation}: rank {rank} synchronises step {entered_step(word)} while rank "
            f"{self._rank} synchronises step {self._step}; {self._cure}"
        )

    @property
    def _cure(self) -> str:
        """What to do where ranks synchronise different steps."""
        same = "every rank must call synchronize() at the same step"
        return f"{same}; {LOOP}" if self._barrier.elastic else same

    def _raise_mismatch(self, operation: str) -> NoReturn:
        """Raise StepMismatch at a barrier to which ranks have come for different steps."""
        for rank, word in enumerate(self._words.entered(self._everybody)):
            if word < CLOSED and entered_step(word) > self._last and entered_step(word) != self._step:
                self._raise_at_other_step(operation, rank, word)
        raise StepMismatch(
            f"{operation}: ranks have come to synchronise different steps, while rank {self._rank} is at "
            f"step {self._step}; {self._cure}; join() comes after a rank's last step"
        )

    def _waits_before(self, word: int, step: int) -> bool:
        """Return whether a rank with this word waits in a synchronisation after the last, up to `step`.

        A rank at an earlier attempt does not wait: all have refused that attempt, as it will soon learn.
        """
        waits = word < CLOSED and entered_stage(word) == ARRIVED and entered_attempt(word) >= self._attempt
        return waits and self._last < entered_step(word) <= step

    def _name_cause(self, rank: int, operation: str, waits: str) -> None:
        """Raise RankLeft if a rank that has closed had departed; name the rank that departed first."""
        if self._departures.have_departed([rank]):
            self._departures.check(operation, waits, self._everybody)

    def _refuse_closed(self, operation: str, waits: str, rank: int) -> NoReturn:
        """Raise what there is to say of a rank that has closed instead of taking part."""
        self._name_cause(rank, operation, waits)
        cure = "every rank must make the same calls"
        if self._joined_at is not None:
            waits = f"waits in join() after step {self._joined_at}"
            cure = "every rank must call join() before close()"
        elif self._barrier.elastic:
            cure = LOOP
        raise StepMismatch(
            f"{operation}: rank {rank} has closed its averager while rank {self._rank} {waits}; {cure}"
        )
