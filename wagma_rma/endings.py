"""Averagers that nobody has closed when their program ends, or that are dropped: the other ranks are told.

Otherwise the others would wait for this rank for ever, and this rank for them in MPI_Finalize.
"""

import atexit
import sys
import warnings
from weakref import WeakSet

from wagma_rma.steps import Steps

_opened: WeakSet[Steps] = WeakSet()


def open_until_closed(steps: Steps) -> None:
    """Have the others told if the program ends before these steps have been closed. Local."""
    _opened.add(steps)


def drop(steps: Steps, what: str) -> None:
    """Tell that an averager has been collected as garbage without close(). Local.

    Args:
        what: the averager, for the warning.
    """
    told_before = steps.leaving.ended
    if not told_before:
        steps.leaving.leave("its averager was dropped without close()")
    steps.leaving.drop()
    if not told_before:
        warnings.warn(
            f"{what} was dropped without close(); call close() on every rank, or use it in a `with` block",
            ResourceWarning,
            stacklevel=3,
        )


@atexit.register
def _tell_all() -> None:
    # What Python has printed as unhandled. sys.exit() leaves no trace.
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    for steps in list(_opened):
        if not steps.leaving.ended:
            steps.leaving.leave(error or "its program has ended without close()")
        steps.leaving.write_trace()
