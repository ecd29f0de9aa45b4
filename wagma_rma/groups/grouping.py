"""What a grouping must offer.

A grouping splits the ranks anew at each group step and repeats itself after a full turn. It is a pure
function of rank and step, so that all ranks agree on it without a message.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class Grouping(Protocol):
    """Split the ranks into disjoint groups that change with the step."""

    @property
    def ranks(self) -> int:
        """Return P, how many ranks are split."""

    @property
    def size(self) -> int:
        """Return S, the most members that a group may have."""

    @property
    def period(self) -> int:
        """Return the groupings in a full turn; `step` and `step + period` have the same groups."""

    def members(self, rank: int, step: int) -> Sequence[int]:
        """Return the group of `rank` at `step` (1, 2, 3, ...): ascending, equal for its members.

        With `group_period` k, `step` counts the group averages: it is 1 at step k of the averager, 2 at 2k.

        Example:
            >>> grouping = Butterfly(ranks=8, size=2)
            >>> [tuple(grouping.members(0, step)) for step in range(1, 5)]
            [(0, 1), (0, 2), (0, 4), (0, 1)]
        """
