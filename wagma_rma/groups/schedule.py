"""What Butterfly and Strided have in common: the ranks, the size of groups, and the order of ranks by host.

Where ranks are on several hosts, ``hosts`` names the host of each. The schedule then applies to a rank's
position in the order by host and, within a host, by rank: early steps stay within a host where the sizes of
groups and hosts allow it, however the ranks were placed. Neither the period nor the largest group depends on
hosts, and so neither does the layout of a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from wagma_rma.groups.arguments import checked_hosts, checked_rank, checked_size


@dataclass(frozen=True, slots=True, repr=False)
class Schedule:
    """A grouping of this library; see Butterfly and Strided."""

    ranks: int
    size: int
    hosts: Sequence[int] | None = None
    _rank_at: Sequence[int] = field(init=False, compare=False)
    _position_of: Sequence[int] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        ranks, size = checked_size(self.ranks, self.size)
        hosts = checked_hosts(self.hosts, ranks)
        rank_at, position_of = _order(hosts, ranks)
        self._set(ranks=ranks, size=size, hosts=hosts, _rank_at=rank_at, _position_of=position_of)

    def __repr__(self) -> str:
        # Ranks compare their groupings by this text; hosts appear only where they were given.
        hosts = "" if self.hosts is None else f", hosts={self.hosts!r}"
        return f"{type(self).__name__}(ranks={self.ranks}, size={self.size}{hosts})"

    def _set(self, **values: object) -> None:
        # A frozen dataclass refuses plain assignment even while it is being made.
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _position(self, rank: int, step: int) -> int:
        """Return the position of a rank; raise if there is no such rank or step."""
        return self._position_of[checked_rank(rank, step, self.ranks)]

    def _ranks_at(self, positions: Sequence[int]) -> tuple[int, ...]:
        """Return the ranks at some positions, ascending."""
        return tuple(sorted(self._rank_at[position] for position in positions))


def _order(hosts: Sequence[int] | None, ranks: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return the rank at each position and the position of each rank."""
    if hosts is None:
        return range(ranks), range(ranks)
    rank_at = sorted(range(ranks), key=hosts.__getitem__)  # stable: by rank within a host
    position_of = sorted(range(ranks), key=rank_at.__getitem__)
    return tuple(rank_at), tuple(position_of)
