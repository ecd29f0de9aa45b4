"""The clocks of several hosts, aligned by the synchronisations of a run.

At a synchronisation no rank leaves the last barrier before every rank has come to it. So for two hosts g and
h, whose clocks g's is ahead of h's by d: what g reads when its last rank comes is at most what h reads when
its first rank leaves, plus d; and the same the other way round. Each synchronisation bounds d from both
sides, and the tightest bounds of some neighbouring ones are used, since clocks drift.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NEIGHBOURS = 20  # synchronisations before and after, whose bounds are used too


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


SAME = Alignment(np.zeros(1), np.zeros(1), 0.0)


def align(first_came: Floats, first_left: Floats, came: Floats, left: Floats) -> Alignment:
    """Align the clock of a host with that of host 0.

    Args:
        first_came, came: when the last rank of host 0, and of the other host, has come to each
        synchronisation;
            on their own clocks.
        first_left, left: when the first rank of either has left it.
    """
    least, most = first_came - left, first_left - came
    places = range(len(came))
    windows = [slice(max(0, i - NEIGHBOURS), i + NEIGHBOURS + 1) for i in places]
    low = np.array([least[window].max() for window in windows])
    high = np.array([most[window].min() for window in windows])
    # Where clocks have drifted further within a window than the bounds are apart, low exceeds high.
    return Alignment(left, (low + high) / 2, float(np.abs(high - low).max() / 2))


def alignments(hosts: tuple[int, ...], came: Floats, left: Floats) -> list[Alignment]:
    """Return the alignment of each host.

    Args:
        hosts: the number of each rank's host.
        came, left: when each rank has come to each synchronisation, and left it: arrays [ranks,
        synchronisations].
    """
    of = np.asarray(hosts)
    came = np.stack([came[of == host].max(axis=0) for host in range(max(hosts) + 1)])
    left = np.stack([left[of == host].min(axis=0) for host in range(max(hosts) + 1)])
    return [SAME, *(align(came[0], left[0], came[host], left[host]) for host in range(1, len(came)))]
