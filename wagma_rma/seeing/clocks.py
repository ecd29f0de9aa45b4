"""The clocks of several hosts, aligned by the synchronisations of a run.

At a synchronisation no rank leaves the last barrier before every rank has come to it. So for two hosts g and
h, whose clocks g's is ahead of h's by d: what g reads when its last rank comes is at most what h reads when
its first rank leaves, plus d; and the same the other way round. Each synchronisation bounds d from both
sides; the bounds of another one hold less tightly, by what clocks may drift from it to this one.
"""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DRIFT = 100e-6  # seconds a second by which clocks of two hosts drift apart, at most


class Alignment(NamedTuple):
    """How far the clock of host 0 is ahead of another host's.

    Attributes:
        at: times on the clock of the other host.
        ahead: seconds, at these times.
        error: the greatest error of any of them, seconds.
    """

    at: Floats
    ahead: Floats
    error: float

    def on_first(self, times: Floats) -> Floats:
        """Return times on the clock of host 0."""
        return times + np.interp(times, self.at, self.ahead)

    def as_lists(self) -> tuple[list[float], list[float], float]:
        """Return the same for JSON."""
        return self.at.tolist(), self.ahead.tolist(), self.error

    @classmethod
    def of_lists(cls, at: list[float], ahead: list[float], error: float) -> Self:
        """Return what as_lists() has been returned of."""
        return cls(np.array(at), np.array(ahead), error)


SAME = Alignment(np.zeros(1), np.zeros(1), 0.0)


def align(first_came: Floats, first_left: Floats, came: Floats, left: Floats) -> Alignment:
    """Align the clock of a host with that of host 0.

    Args:
        first_came, came: when the last rank of host 0, and of the other host, has come to each
            synchronisation; on their own clocks.
        first_left, left: when the first rank of either has left it.
    """
    least, most = first_came - left, first_left - came
    apart = DRIFT * np.abs(left[:, None] - left)
    low, high = (least - apart).max(axis=1), (most + apart).min(axis=1)
    # Clocks that drift faster than that may have low exceed high. They drift between two synchronisations
    # too, and beyond the last.
    between = DRIFT * float(np.diff(left).max(initial=0.0))
    return Alignment(left, (low + high) / 2, float(np.abs(high - low).max() / 2) + between)


def aligned_hosts(hosts: tuple[int, ...], found: Floats) -> list[Alignment]:
    """Return the alignment of each host; none if the ranks have no synchronisation in common.

    Args:
        hosts: the number of each rank's host.
        found: (step, when the rank has come, and left) of synchronisations: an array [ranks, some, 3], in
            which a step of -1 is none.
    """
    common = set(found[0, :, 0])
    for of_rank in found[1:]:
        common &= set(of_rank[:, 0])
    steps = sorted(common - {-1.0})
    if not steps:
        return []
    rows = np.stack([of_rank[np.isin(of_rank[:, 0], steps)] for of_rank in found])
    of = np.asarray(hosts)
    came = np.stack([rows[of == host, :, 1].max(axis=0) for host in range(max(hosts) + 1)])
    left = np.stack([rows[of == host, :, 2].min(axis=0) for host in range(max(hosts) + 1)])
    return [SAME, *(align(came[0], left[0], came[host], left[host]) for host in range(1, len(came)))]
