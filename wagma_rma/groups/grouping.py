"""Which ranks average together at which step.

A grouping splits the ranks anew at each step and repeats itself after a full turn. It is a pure
function of rank and step, so that all ranks agree on it without a message.

Source: WAGMA-SGD, Li et al., TPDS 32(7), 2021, Algorithm 1, whose printed masks are off. At step
t = 0, 1, 2, ... the ranks of a group differ in the bits 1 << ((t * log2(S) + r) mod log2(P)) for
r = 0 .. log2(S) - 1. ``Butterfly`` is this schedule for more than powers of two; ``Strided``
approximates it for any number of ranks.

Where ranks lie on several hosts, ``hosts`` names the host of each. The schedule then acts on a rank's
position in the order by host and, within a host, by rank: early steps keep to a host where group and host
sizes allow, however the ranks were placed. Neither the period nor the largest group depends on hosts, and
so neither does the layout of a window.
"""

import math
import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

# A window has one snapshot more than a turn has groupings, and 8 bits name a snapshot.
LONGEST_PERIOD = 254


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

        Example:
            >>> grouping = Butterfly(ranks=8, size=2)
            >>> [tuple(grouping.members(0, step)) for step in range(1, 5)]
            [(0, 1), (0, 2), (0, 4), (0, 1)]
        """


@dataclass(frozen=True, slots=True)
class Butterfly:
    """Vary a window of the rank's digits that moves on with each step.

    The digits have the prime factors of `ranks` as radices, the smallest least significant, or if
    ranks = size^k those of `size` k times. A window takes as many consecutive digits, cyclically,
    as keep the group within `size`; the next one begins behind it. A turn begins at digit 0 and
    ends when the next window would begin where one of the turn began. By then each digit has been
    varied: if all ranks were FRESH, all have the global mean. ranks = size^k takes k steps.

    With `hosts` these are the digits of the rank's position. If all hosts have h ranks, the prime
    factors of h come first and those of P / h after them, unless that would change the period or the
    largest group. Steps that vary digits of h only stay within hosts.

    Args:
        ranks: P.
        size: S, the members of the largest group.
        hosts: the number of each rank's host, kept as a tuple; None: the position is the rank.

    Raises:
        TypeError: `hosts` is not a sequence of integers.
        ValueError: a prime factor of `ranks` exceeds `size`, no group would have `size` members, or
            `hosts` has not one number for each rank.
    """

    ranks: int
    size: int
    hosts: Sequence[int] | None = None
    _turn: tuple[tuple[tuple[int, int], ...], ...] = field(init=False, repr=False, compare=False)
    _rank_at: Sequence[int] = field(init=False, repr=False, compare=False)
    _position_of: Sequence[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ranks, size = _checked(self.ranks, self.size)
        hosts = _checked_hosts(self.hosts, ranks)
        factors = _prime_factors(ranks)
        possible = _possible_size(factors, size)
        if possible != size:
            raise ValueError(
                f"group_size={size} fits no butterfly of {ranks} ranks (prime factors {factors}); "
                f"pass group_size={possible} or use Strided({ranks}, {size})"
            )
        radices = _host_first(_radices(factors, size), size, hosts)
        digits = [(math.prod(radices[:i]), radix) for i, radix in enumerate(radices)]
        turn = tuple(tuple(digits[i] for i in sorted(w)) for w in _windows(radices, size))
        rank_at, position_of = _order(hosts, ranks)
        _freeze(
            self, ranks=ranks, size=size, hosts=hosts, _turn=turn, _rank_at=rank_at, _position_of=position_of
        )

    def __repr__(self) -> str:
        return _named(self)

    @property
    def period(self) -> int:
        """Return the groupings in a full turn, at most one for each prime factor of `ranks`."""
        return len(self._turn)

    def members(self, rank: int, step: int) -> tuple[int, ...]:
        """Return the group of `rank` at `step` in O(size log size), for it is sorted."""
        position = self._position_of[_checked_rank(rank, step, self.ranks)]
        window = self._turn[(step - 1) % len(self._turn)]
        group = [position - sum(position // stride % radix * stride for stride, radix in window)]
        for stride, radix in window:
            group = [member + digit * stride for digit in range(radix) for member in group]
        return tuple(sorted(self._rank_at[p] for p in group))


@dataclass(frozen=True, slots=True)
class Strided:
    """Cut the ranks into nearly equal blocks, laid out with another stride at each step.

    At step t = 0, 1, 2, ... of a turn, rank (place * stride + offset) mod P is at `place`. The
    strides follow S^t, as in a butterfly, each moved up to the next that is coprime to P and, if
    there is one, neither equal nor opposite (mod P) to an earlier one. The offsets divide P evenly:
    they move the smaller groups about, and shift the blocks where P has too few strides (6 ranks
    have one). A turn has ceil(log_S P) groupings; it mixes all ranks, but not to the exact mean.

    With `hosts` positions are laid out so, not ranks. The blocks of the first step are neighbours, though
    some may straddle hosts; those of later steps are spread over hosts.

    Args:
        ranks: P.
        size: S. There are ceil(P / S) groups, whose sizes differ by at most one.
        hosts: the number of each rank's host, kept as a tuple; None: the position is the rank.

    Raises:
        TypeError: `hosts` is not a sequence of integers.
        ValueError: `size` is not between 1 and `ranks`, or `hosts` has not one number for each rank.
    """

    ranks: int
    size: int
    hosts: Sequence[int] | None = None
    _turn: tuple[tuple[int, int, int], ...] = field(init=False, repr=False, compare=False)
    _rank_at: Sequence[int] = field(init=False, repr=False, compare=False)
    _position_of: Sequence[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ranks, size = _checked(self.ranks, self.size)
        hosts = _checked_hosts(self.hosts, ranks)
        period = 1
        while size > 1 and size**period < ranks:
            period += 1
        # With t * ranks // period, 66 ranks in pairs would fall into parts that never meet.
        turn = tuple(
            (stride, pow(stride, -1, ranks), t * (ranks // period))
            for t, stride in enumerate(_coprime_strides(ranks, size, period))
        )
        rank_at, position_of = _order(hosts, ranks)
        _freeze(
            self, ranks=ranks, size=size, hosts=hosts, _turn=turn, _rank_at=rank_at, _position_of=position_of
        )

    def __repr__(self) -> str:
        return _named(self)

    @property
    def period(self) -> int:
        """Return the groupings in a full turn, ceil(log_S P)."""
        return len(self._turn)

    def members(self, rank: int, step: int) -> tuple[int, ...]:
        """Return the group of `rank` at `step` in O(size log size), for it is sorted."""
        position = self._position_of[_checked_rank(rank, step, self.ranks)]
        stride, inverse, offset = self._turn[(step - 1) % len(self._turn)]
        groups = -(-self.ranks // self.size)
        place = (position - offset) * inverse % self.ranks
        g = ((place + 1) * groups - 1) // self.ranks
        block = range(g * self.ranks // groups, (g + 1) * self.ranks // groups)
        return tuple(sorted(self._rank_at[(p * stride + offset) % self.ranks] for p in block))


def choose(ranks: int, size: int | None = None, hosts: Sequence[int] | None = None) -> Grouping:
    """Return a grouping of `ranks` ranks into groups of at most `size`, a butterfly if one fits.

    Args:
        ranks: the size of the communicator.
        size: the largest group. None takes the size nearest to sqrt(ranks) for which there is a
            butterfly, or strided groups of about sqrt(ranks) if none is within a factor of 2.
        hosts: the number of each rank's host, the same at every rank; None for ranks on one host. It
            has no say in which kind and size are chosen.

    Raises:
        TypeError: an argument is not an integer, or `hosts` not a sequence of integers.
        ValueError: `size` is not between 1 and `ranks`, or `hosts` has not one number for each rank.
    """
    ranks, given = _checked(ranks, 1 if size is None else size)
    factors = _prime_factors(ranks)
    if size is not None:
        fits = _possible_size(factors, given) == given
        return Butterfly(ranks, given, hosts) if fits else Strided(ranks, given, hosts)
    root = math.sqrt(ranks)
    least = min(2, ranks)
    near = range(max(least, math.ceil(root / 2)), min(ranks, math.floor(root * 2)) + 1)
    for candidate in sorted(near, key=lambda s: abs(s - root)):
        if _possible_size(factors, candidate) == candidate:
            return Butterfly(ranks, candidate, hosts)
    return Strided(ranks, max(least, round(root)), hosts)


def check(grouping: Grouping, ranks: int) -> None:
    """Raise unless `grouping` partitions `ranks` ranks at each step and repeats after its period.

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
    own, size = _checked(grouping.ranks, grouping.size)
    if own != ranks:
        raise ValueError(
            f"grouping.ranks={own} is not the size of the communicator ({ranks} ranks); "
            f"pass a grouping of {ranks} ranks"
        )
    period = _integer("grouping.period", grouping.period)
    if not 1 <= period <= LONGEST_PERIOD:
        fault = f"is not between 1 and {LONGEST_PERIOD}; repeat the groups within as many steps"
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
    group = tuple(_integer(f"member of {call}: rank", member) for member in group)
    if rank not in group:
        fault = f"lacks rank {rank}; return a group that includes it"
    elif any(a >= b for a, b in pairwise(group)):
        fault = "is not ascending; return each member once, in ascending order"
    elif group[0] < 0 or group[-1] >= ranks:
        fault = f"leaves the communicator ({ranks} ranks); return ranks from 0 to {ranks - 1}"
    elif len(group) > size:
        fault = f"has {len(group)} members, more than grouping.size={size}; return at most {size}"
    else:
        return group
    raise ValueError(f"{call} = {group} {fault}")


def _integer(name: str, value: Any) -> int:
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{name}={value!r} is not an integer; pass an int")


def _checked(ranks: Any, size: Any) -> tuple[int, int]:
    ranks, size = _integer("ranks", ranks), _integer("group_size", size)
    if ranks < 1:
        raise ValueError(f"ranks={ranks} is smaller than 1; pass the size of a communicator")
    if not 1 <= size <= ranks:
        fault = "smaller than 1" if size < 1 else f"larger than the communicator ({ranks} ranks)"
        raise ValueError(f"group_size={size} is {fault}; pass group_size between 1 and {ranks}")
    return ranks, size


def _checked_hosts(hosts: Any, ranks: int) -> tuple[int, ...] | None:
    if hosts is None:
        return None
    if not isinstance(hosts, Sequence):
        raise TypeError(f"hosts={hosts!r} is not a sequence; pass the number of each rank's host")
    if len(hosts) != ranks:
        fault = f"has {len(hosts)} numbers, one for each rank would be {ranks}"
        raise ValueError(f"hosts {fault}; pass the number of each rank's host")
    return tuple(_integer(f"hosts[{rank}]", host) for rank, host in enumerate(hosts))


def _checked_rank(rank: Any, step: int, ranks: int) -> int:
    number = operator.index(rank)
    if not 0 <= number < ranks:
        fault = f"is outside the communicator; pass rank between 0 and {ranks - 1}"
        raise ValueError(f"rank={number} {fault}")
    if step < 1:
        raise ValueError(f"step={step} is before the first; pass step of at least 1")
    return number


def _freeze(grouping: Butterfly | Strided, **values: object) -> None:
    # A frozen dataclass refuses plain assignment even while it is being made.
    for name, value in values.items():
        object.__setattr__(grouping, name, value)


def _named(grouping: Butterfly | Strided) -> str:
    """Return the repr, by which ranks compare groupings; hosts appear only where they were given."""
    hosts = "" if grouping.hosts is None else f", hosts={grouping.hosts!r}"
    return f"{type(grouping).__name__}(ranks={grouping.ranks}, size={grouping.size}{hosts})"


def _order(hosts: Sequence[int] | None, ranks: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return the rank at each position and the position of each rank."""
    if hosts is None:
        return range(ranks), range(ranks)
    rank_at = sorted(range(ranks), key=hosts.__getitem__)  # stable: by rank within a host
    position_of = sorted(range(ranks), key=rank_at.__getitem__)
    return tuple(rank_at), tuple(position_of)


def _prime_factors(n: int) -> list[int]:
    factors = []
    divisor = 2
    while divisor * divisor <= n:
        while n % divisor == 0:
            factors.append(divisor)
            n //= divisor
        divisor += 1
    return [*factors, n] if n > 1 else factors


def _radices(factors: list[int], size: int) -> list[int]:
    """Return the radices of a butterfly's digits, from the ascending prime factors of its ranks."""
    # 36 ranks in groups of 6 would take 4 steps instead of 2 with the digits 2, 2, 3, 3.
    ranks = math.prod(factors)
    for k in range(2, len(factors) + 1):
        if size**k == ranks:
            return factors[::k] * k
    return factors


def _host_first(radices: list[int], size: int, hosts: Sequence[int] | None) -> list[int]:
    """Return radices of which the first make up a host, or `radices` where that can't be."""
    per_host = set(Counter(hosts).values())
    if len(per_host) != 1:
        return radices  # no hosts, or unequal ones, on which no digits end where hosts do
    h = per_host.pop()
    moved = _prime_factors(h) + _prime_factors(math.prod(radices) // h)
    # The period sets the number of snapshots in a window. For ranks = size^k it is k, and k windows of
    # at most `size` members that take every digit are disjoint and full: k steps still do, and the
    # groups are those of `radices`.
    same_period = len(_windows(moved, size)) == len(_windows(radices, size))
    return moved if same_period and _largest(moved, size) == size else radices


def _windows(radices: list[int], size: int) -> list[list[int]]:
    """Return the digits of each window of a butterfly's turn; `size` is at most the ranks."""
    if not radices:
        return [[]]
    windows: dict[int, list[int]] = {}
    start = 0
    # The first start to repeat need not be 0: radices 2, 2, 2, 3, 3 and size 6 give the starts
    # 0, 2, 4, 1, 3, 4, ... For powers of two it is 0. A start repeats only after a whole round,
    # so no digit is left out.
    while start not in windows:
        window = windows[start] = [start]
        members = radices[start]
        start = (start + 1) % len(radices)
        while members * radices[start] <= size:
            window.append(start)
            members *= radices[start]
            start = (start + 1) % len(radices)
    return list(windows.values())


def _possible_size(factors: list[int], size: int) -> int:
    """Return `size` if a butterfly has it as its largest group, and else one that it does have."""
    return _largest(_radices(factors, size), size)


def _largest(radices: list[int], size: int) -> int:
    return max(math.prod(radices[i] for i in window) for window in _windows(radices, size))


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
