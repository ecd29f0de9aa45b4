"""Groups that follow the digits of the rank, as a butterfly network does.

Source: WAGMA-SGD, Li et al., TPDS 32(7), 2021, Algorithm 1, whose printed masks are wrong. At step t = 0, 1,
2, ... the ranks of a group differ in the bits 1 << ((t * log2(S) + r) mod log2(P)) for r = 0 .. log2(S) - 1.
``Butterfly`` is this schedule for more than powers of two.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from wagma_rma.groups.schedule import Schedule


@dataclass(frozen=True, slots=True, repr=False)
class Butterfly(Schedule):
    """Vary a span of the rank's digits, the next span at each step.

    The radices of the digits are the prime factors of `ranks`, the smallest one at the least
    significant digit; if ranks = size^k, they are the prime factors of `size`, k times. A span is
    as many consecutive digits (the first digit follows the last) as keep the group within `size`;
    the next span begins behind it. A turn begins at digit 0 and ends when the next span would begin
    where a span of the turn began. By then each digit has been varied: if all ranks were FRESH, all
    have the global mean. ranks = size^k takes k steps.

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

    _turn: tuple[tuple[tuple[int, int], ...], ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        Schedule.__post_init__(self)
        ranks, size = self.ranks, self.size
        factors = prime_factors(ranks)
        possible = possible_size(factors, size)
        if possible != size:
            raise ValueError(
                f"group_size={size} fits no butterfly of {ranks} ranks (prime factors {factors}); "
                f"pass group_size={possible} or use Strided({ranks}, {size})"
            )
        radices = _host_first(_radices(factors, size), size, self.hosts)
        digits = [(math.prod(radices[:i]), radix) for i, radix in enumerate(radices)]
        self._set(_turn=tuple(tuple(digits[i] for i in sorted(span)) for span in _spans(radices, size)))

    @property
    def period(self) -> int:
        """Return the groupings in a full turn, at most one for each prime factor of `ranks`."""
        return len(self._turn)

    def members(self, rank: int, step: int) -> tuple[int, ...]:
        """Return the group of `rank` at `step` in O(size log size), for it is sorted."""
        position = self._position(rank, step)
        span = self._turn[(step - 1) % len(self._turn)]
        group = [position - sum(position // stride % radix * stride for stride, radix in span)]
        for stride, radix in span:
            group = [member + digit * stride for digit in range(radix) for member in group]
        return self._ranks_at(group)


def prime_factors(n: int) -> list[int]:
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
    moved = prime_factors(h) + prime_factors(math.prod(radices) // h)
    # The period sets the number of snapshots in a window of memory. For ranks = size^k it is k. If
    # k spans of at most `size` members take every digit, the spans are disjoint and full: k steps are still
    # enough, and the groups are the same as with `radices`.
    same_period = len(_spans(moved, size)) == len(_spans(radices, size))
    return moved if same_period and _largest(moved, size) == size else radices


def _spans(radices: list[int], size: int) -> list[list[int]]:
    """Return the digits of each span of a butterfly's turn; `size` is at most the ranks."""
    if not radices:
        return [[]]
    spans: dict[int, list[int]] = {}
    start = 0
    # The first start to repeat need not be 0: radices 2, 2, 2, 3, 3 and size 6 give the starts
    # 0, 2, 4, 1, 3, 4, ... For powers of two it is 0. A start repeats only after a whole round,
    # so no digit is left out.
    while start not in spans:
        span = spans[start] = [start]
        members = radices[start]
        start = (start + 1) % len(radices)
        while members * radices[start] <= size:
            span.append(start)
            members *= radices[start]
            start = (start + 1) % len(radices)
    return list(spans.values())


def possible_size(factors: list[int], size: int) -> int:
    """Return `size` if a butterfly has it as its largest group, and else one that it does have."""
    return _largest(_radices(factors, size), size)


def _largest(radices: list[int], size: int) -> int:
    return max(math.prod(radices[i] for i in span) for span in _spans(radices, size))
