"""Saying whom one is waiting for: a warning now and then, and a time limit."""

import logging
from collections.abc import Callable

logger = logging.getLogger("wagma_rma")

WARN_EVERY = 30.0  # seconds


class SynchronizationTimeout(TimeoutError):
    """A wait for other ranks outlasted the averager's timeout; the message names the missing ranks.

    Nothing is lost: calling synchronize() or average() again with the model of the same step goes on waiting.
    """


def enumerate_ranks(ranks: list[int], reached: Callable[[int], int]) -> str:
    """Return for instance "rank 2 (at step 14) and rank 3 (at step 12)"."""
    names = [f"rank {rank} (at step {reached(rank)})" for rank in ranks[:16]]
    if len(ranks) > 16:
        names.append(f"{len(ranks) - 16} more ranks")
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


class Watch:
    """A window's watcher: is told every now and then for how many seconds a wait has lasted.

    Args:
        reached: the newest step that a rank is known to have reached.
        timeout: seconds, or None for no limit.
    """

    def __init__(self, reached: Callable[[int], int], timeout: float | None) -> None:
        self._reached = reached
        self._timeout = timeout
        self._next_warning = WARN_EVERY
        self.earlier = 0.0
        self.expect("", list)

    def expect(self, operation: str, missing: Callable[[], list[int]]) -> None:
        """Begin another wait, in `operation`, for the ranks that missing() returns when asked."""
        self._operation = operation
        self._missing = missing
        self._next_warning = WARN_EVERY
        self.earlier = 0.0

    def __call__(self, seconds: float) -> None:
        seconds += self.earlier
        timed_out = self._timeout is not None and seconds >= self._timeout
        if not timed_out and seconds < self._next_warning:
            return
        missing = self._missing()
        whom = enumerate_ranks(missing, self._reached) if missing else "the MPI library"
        said = f"{self._operation}: waited {seconds:.1f} s for {whom}"
        if timed_out:
            raise SynchronizationTimeout(
                f"{said}, the timeout is {self._timeout} s; call again to go on waiting, or end the run"
            )
        logger.warning("%s", said)
        self._next_warning = seconds + WARN_EVERY
