"""Saying whom one is waiting for: a warning now and then, and a time limit."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from wagma_rma.waiting.interrupts import Interrupts

logger = logging.getLogger("wagma_rma")

WARN_EVERY = 30.0  # seconds


class SynchronizationTimeout(TimeoutError):
    """A wait for other ranks outlasted the averager's timeout; the message names the missing ranks.

    At a synchronisation nothing is lost: calling again with the model of the same step goes on waiting.
    """


def enumerate_ranks(ranks: list[int], reached: Callable[[list[int]], list[int]]) -> str:
    """Return for instance "rank 2 (at step 14) and rank 3 (at step 12)"."""
    first = ranks[:16]
    names = [f"rank {rank} (at step {step})" for rank, step in zip(first, reached(first), strict=True)]
    if len(ranks) > 16:
        names.append(f"{len(ranks) - 16} more ranks")
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


class Expectation(NamedTuple):
    """What a wait is for."""

    operation: Callable[[], str]
    """Returns what waits, and where."""
    missing: Callable[[], list[int] | None]
    """Returns the ranks that are waited for, or None if the wait ends without any of them."""
    check: Callable[[], None]
    """Raises if the wait can't end well."""
    cure: str
    """What to do after a timeout."""


class Watch:
    """A window's watcher: is told every now and then for how many seconds a wait has lasted, and for which
    rank's memory to answer (-1: for ranks to do something).

    Args:
        reached: the newest steps that some ranks are known to have reached.
        timeout: seconds, or None for no limit.
        interrupts: come through here.
    """

    def __init__(
        self, reached: Callable[[list[int]], list[int]], timeout: float | None, interrupts: Interrupts
    ) -> None:
        self._interrupts = interrupts
        self._reached = reached
        self.timeout = timeout
        self.expect(Expectation(str, list, _nothing, ""))

    def expect(self, expectation: Expectation) -> None:
        """Begin another wait."""
        self._expectation = expectation
        self._next_warning = WARN_EVERY
        self.earlier = 0.0

    def __call__(self, seconds: float, rank: int = -1) -> None:
        self._interrupts.deliver()
        if rank < 0:
            self._expectation.check()
        seconds += self.earlier
        timed_out = self.timeout is not None and seconds >= self.timeout
        if not timed_out and seconds < self._next_warning:
            return
        if rank >= 0:
            # Its words can't be looked at now.
            whom = f"rank {rank}, which does not answer (is it stopped, or its network down?)"
        elif (missing := self._expectation.missing()) is None:
            return
        else:
            whom = enumerate_ranks(missing, self._reached) if missing else "the MPI library"
        said = f"{self._expectation.operation()}: waited {seconds:.1f} s for {whom}"
        if timed_out:
            raise SynchronizationTimeout(f"{said}, the timeout is {self.timeout} s; {self._expectation.cure}")
        logger.warning("%s", said)
        self._next_warning = seconds + WARN_EVERY


def _nothing() -> None:
    pass
