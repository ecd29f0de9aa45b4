"""Groups for any number of ranks: blocks of ranks, laid out with another stride at each step."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from wagma_rma.groups.schedule import Schedule


@dataclass(frozen=True, slots=True, repr=False)
class Strided(Schedule):
    """Cut the ranks into nearly equal blocks, laid out with another stride at each step.

    At step t = 0, 1, 2, ... of a turn, rank (place * stride + offset) mod P is at `place`. The
    strides follow S^t, as in a butterfly, each moved up to the next that is coprime to P and, if
    there is one, neither equal nor opposite (mod P) to an earlier one. The offsets divide P evenly:
    they move the smaller groups about, and shift the blocks where P has too few strides (6 ranks
    have one). A turn has ceil(log_S P) groupings; it mixes all ranks, but not to the exact mean.

    With `hosts` all this holds for positions instead of ranks. The blocks of the first step are neighbours,
    though some may straddle hosts; those of later steps are spread over hosts.

    Args:
        ranks: P.
        size: S. There are ceil(P / S) groups, whose sizes differ by at most one.
        hosts: the number of each rank's host, kept as a tuple; None: the position is the rank.

    Raises:
        TypeError: `hosts` is not a sequence of integers.
        ValueError: `size` is not between 1 and `ranks`, or `hosts` has not one number for each rank.
    """

    _turn: tuple[tuple[int, int, int], ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        Schedule.__post_init__(self)
        ranks, size = self.ranks, self.size
        period = 1
        while size > 1 and size**period < ranks:
            period += 1
        # With t * ranks // period, 66 ranks in pairs would fall into parts that never meet.
        self._set(
            _turn=tuple(
                (stride, pow(stride, -1, ranks), t * (ranks // period))
                for t, stride in enumerate(_coprime_strides(ranks, size, period))
            )
        )

    @property
    def period(self) -> int:
        """Return the groupings in a full turn, ceil(log_S P)."""
        return len(self._turn)

    def members(self, rank: int, step: int) -> tuple[int, ...]:
        """Return the group of `rank` at `step` in O(size log size), for it is sorted."""
        position = self._position(rank, step)
        stride, inverse, offset = self._turn[(step - 1) % len(self._turn)]
        groups = -(-self.ranks // self.size)
        place = (position - offset) * inverse % self.ranks
        g = ((place + 1) * groups - 1) // self.ranks
        block = range(g * self.ranks // groups, (g + 1) * self.ranks // groups)
        return self._ranks_at([(p * stride + offset) % self.ranks for p in block])


def _coprime_strides(ranks: int, size: int, count: int) -> list[int]:
    def coprimes(first: int) -> Iterator[int]:
        candidates = ((first + i) % ranks for i in range(ranks))
        return (stride for stride in candidates if math.gcd(stride, ranks) == 1)

    strides: list[int] = []
    for t in range(count):
        first = pow(size, t, ranks)
        new = (s for s in coprimes(first) if s not in strides and ranks - s not in strides)
        strides.append(next(new, next(coprimes(first))))
    return strides
