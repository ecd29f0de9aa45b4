"""The check of a grouping that a user has written."""

from collections.abc import Sequence
from itertools import pairwise

from wagma_rma.groups.arguments import checked_size, integer
from wagma_rma.groups.grouping import Grouping


def check(grouping: Grouping, ranks: int, longest_period: int) -> None:
    """Raise unless `grouping` partitions `ranks` ranks at each step and repeats after its period.

    Args:
        longest_period: the limit on `grouping.period`.

    Local. Calls ``members`` for each rank and each step of two turns.

    Raises:
        TypeError: an attribute is missing, or something is not an integer or not a sequence.
        ValueError: an attribute or a group is wrong; the message names step and rank.
    """
    lacking = [n for n in ("ranks", "size", "period", "members") if not hasattr(grouping, n)]
    if lacking:
        raise TypeError(
            f"grouping={grouping!r} has no {', '.join(lacking)}; "
            "pass an object with all that wagma_rma.Grouping describes"
        )
    own, size = checked_size(grouping.ranks, grouping.size)
    if own != ranks:
        raise ValueError(
            f"grouping.ranks={own} is not the size of the communicator ({ranks} ranks); "
            f"pass a grouping of {ranks} ranks"
        )
    period = integer("grouping.period", grouping.period)
    if not 1 <= period <= longest_period:
        fault = f"is not between 1 and {longest_period}; repeat the groups within as many steps"
        raise ValueError(f"grouping.period={period} {fault}")
    for step in range(1, period + 1):
        group_of: dict[int, tuple[int, ...]] = {}
        for rank in range(ranks):
            group = _checked_group(grouping, rank, step, ranks, size)
            call = f"members(rank={rank}, step={step}) = {group}"
            other = next((group_of[member] for member in group if member in group_of), group)
            if other != group:
                raise ValueError(
                    f"{call} overlaps members(rank={other[0]}, step={step}) = {other}; "
                    "return the same group for each of its members"
                )
            group_of.update(dict.fromkeys(group, group))
            later = _checked_group(grouping, rank, step + period, ranks, size)
            if later != group:
                raise ValueError(
                    f"{call} differs from members(rank={rank}, step={step + period}) = {later} "
                    f"in spite of grouping.period={period}; return the same group a period later"
                )


def _checked_group(grouping: Grouping, rank: int, step: int, ranks: int, size: int) -> tuple[int, ...]:
    """Return the group of `rank` at `step`, or raise what is wrong with it taken by itself."""
    group = grouping.members(rank, step)
    call = f"members(rank={rank}, step={step})"
    if not isinstance(group, Sequence):
        raise TypeError(f"{call} = {group!r} is not a sequence; return a tuple of ranks")
    group = tuple(integer(f"member of {call}: rank", member) for member in group)
    if rank not in group:
        fault = f"lacks rank {rank}; return a group that includes it"
    elif any(a >= b for a, b in pairwise(group)):
        fault = "is not ascending; return each member once, in ascending order"
    elif group[0] < 0 or group[-1] >= ranks:
        fault = f"has ranks outside the communicator ({ranks} ranks); return ranks from 0 to {ranks - 1}"
    elif len(group) > size:
        fault = f"has {len(group)} members, more than grouping.size={size}; return at most {size}"
    else:
        return group
    raise ValueError(f"{call} = {group} {fault}")
