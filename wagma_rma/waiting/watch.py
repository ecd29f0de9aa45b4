"""Warnings that name the ranks that a long wait is for, and the time limit of waits."""

import logging
from collections.abc import Callable
from threading import get_ident
from time import monotonic
from typing import NamedTuple

from wagma_rma.waiting.interrupts import Interrupts

logger = logging.getLogger("wagma_rma")

WARN_EVERY = 30.0  # seconds


class SynchronizationTimeout(TimeoutError):
    """A wait for other ranks took longer than the averager's timeout; the message names the missing ranks.

    At a synchronisation nothing is lost: the next call with the model of the same step goes on waiting.
    """


def enumerate_ranks(
    ranks: list[int],
    reached: Callable[[list[int]], list[int]],
    described: Callable[[list[int]], list[str]] = lambda ranks: [""] * len(ranks),
) -> str:
    """Return for instance "rank 2 (at step 14) and rank 3 (at step 12; host a, pid 123)".

    Args:
        reached: returns the newest steps that some ranks are known to have reached.
        described: returns what else there is to say of some ranks, "" for nothing.
    """
    first = ranks[:16]
    names = [
        f"rank {rank} (at step {step}{text and f'; {text}'})"
        for rank, step, text in zip(first, reached(first), described(first), strict=True)
    ]
    if len(ranks) > 16:
        names.append(f"{len(ranks) - 16} more ranks")
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


class Expectation(NamedTuple):
    """What a wait is for."""

    operation: Callable[[], str]
    """Returns which call waits, at which rank and step."""
    missing: Callable[[], list[int] | None]
    """Returns the ranks that are waited for, or None if the wait will end without any of them."""
    check: Callable[[], None]
    """Raises if the wait can't end well."""
    cure: str
    """What the user can do after a timeout."""


class Watch:
    """The watcher of a waiter, which calls it now and then during a wait.

    At each call it delivers interrupts, and checks that the wait can still end well. After 30 seconds, and
    every 30 seconds from then on, it logs which ranks are missing. At the timeout it raises
    SynchronizationTimeout.

    A wait of another thread than the one that has begun it goes on behind the program's back. Only the time
    counts in which the program waits for its end, and calls look().

    Args:
        reached: returns the newest steps that some ranks are known to have reached.
        timeout: seconds, or None for no limit.
        interrupts: deferred interrupts, which each call delivers.
    """

    timeout: float | None
    """Seconds after which a wait raises SynchronizationTimeout, or None. May be set at any time."""
    described: Callable[[list[int]], list[str]]
    """Returns what there is to say of some ranks, besides their steps."""
    earlier: float
    """Seconds that earlier waits of the same call have taken. Warnings and the timeout count them too."""

    def __init__(
        self, reached: Callable[[list[int]], list[int]], timeout: float | None, interrupts: Interrupts
    ) -> None:
        self.timeout = timeout
        self._interrupts = interrupts
        self._reached = reached
        self.described = lambda ranks: [""] * len(ranks)
        self.expect(Expectation(str, list, _nothing, ""))

    def expect(self, expectation: Expectation) -> None:
        """Begin another wait."""
        self._expectation = expectation
        self._thread = get_ident()
        self._awaited_since: float | None = None
        self._end: BaseException | None = None
        self._next_warning = WARN_EVERY
        self.earlier = 0.0

    def __call__(self, seconds: float, rank: int = -1) -> None:
        """Check on a wait that has lasted for some seconds.

        Args:
            rank: the rank whose memory does not answer, or -1 if the wait is for what ranks do.

        Raises:
            SynchronizationTimeout: the wait has lasted for the timeout.
            BaseException: what the expectation's check or a deferred interrupt raises.
        """
        if get_ident() == self._thread:
            self._interrupts.deliver()
        else:
            if self._end is not None:
                raise self._end
            seconds = 0.0 if self._awaited_since is None else min(seconds, monotonic() - self._awaited_since)
        if rank < 0:
            self._expectation.check()
        seconds += self.earlier
        timed_out = self.timeout is not None and seconds >= self.timeout
        if not timed_out and seconds < self._next_warning:
            return
        if rank >= 0:
            # No word of this rank can be loaded now, so its step is unknown.
            [known] = self.described([rank])
            cause = "which does not answer (is it stopped, or its network down?)"
            awaited = f"rank {rank}{known and f' ({known})'}, {cause}"
        elif (missing := self._expectation.missing()) is None:
            return
        else:
            awaited = "other ranks to go on"
            if missing:
                awaited = enumerate_ranks(missing, self._reached, self.described)
        message = f"{self._expectation.operation()}: waited {seconds:.1f} s for {awaited}"
        if timed_out:
            raise SynchronizationTimeout(
                f"{message}, the timeout is {self.timeout} s; {self._expectation.cure}"
            )
        logger.warning("%s", message)
        self._next_warning = seconds + WARN_EVERY

    def look(self) -> None:
        """Note that the program waits for what goes on behind its back; deliver deferred interrupts."""
        if self._awaited_since is None:
            self._awaited_since = monotonic()
        self._interrupts.deliver()

    def end(self, error: BaseException) -> None:
        """Have the wait behind the program's back end by an exception."""
        self._end = error


def _nothing() -> None:
    pass
