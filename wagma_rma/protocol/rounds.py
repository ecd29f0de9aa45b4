"""Which hosts exchange sums with which, round by round, in a synchronisation.

Hosts are numbered by digits of mixed radix, small ones. In round k of the reduction a host meets those that
differ from it in digit k alone: each sums the part of what they hold that its digit names. The way back is
the same in reverse: each copies the others' parts. So a host talks to few others, in few rounds. A number of
hosts that has no small factors is cut to a power of two: a host above it hands its sums to a partner below,
and gets the totals there in the end.

The last round of the reduction and the first on the way back are one where that moves no more bytes, among
two hosts, or few more: each host then sums all of the part that they have in common.

Partial sums lie in results 0 and 1 in turns, totals in result 2. A host tells its *stage*, which says what
may be read:

    1        its ranks' sums, if they are to be handed on
    2        the sums that it brings to the first round
    2 + k    the sums of round k
    2 + 2K   all totals, after K rounds and the K on the way back

It tells each stage to the hosts that wait for it, and to no others.
"""

import math
from typing import NamedTuple

LARGEST_RADIX = 8
TOTALS = 2  # the result that holds totals

Digits = tuple[int, ...]  # the first digits of a host's number; they name a part of the model


class Round(NamedTuple):
    """What a host does in one round."""

    needs: int
    """The stage of the hosts that it reads from."""
    reaches: int
    """Its own stage after the round."""
    sums: tuple[int, ...]
    """Hosts whose sums of one part it adds up, in this order; empty if it copies."""
    part: Digits
    """The part that it sums."""
    copies: tuple[tuple[int, Digits], ...]
    """Hosts that it copies totals from, and which part of each."""
    source: int
    """The result in which these hosts have it."""
    target: int
    """The result in which this host puts it."""


class Plan(NamedTuple):
    """The rounds of one host."""

    radices: tuple[int, ...]
    target: int
    """The result in which the sums of this host's ranks go."""
    stage: int
    """The stage after these."""
    rounds: tuple[Round, ...]


def radices(hosts: int) -> tuple[int, ...]:
    """Return small factors whose product is a number of hosts, or the largest power of two below it."""
    found, rest = [], hosts
    for factor in range(LARGEST_RADIX, 1, -1):
        while rest % factor == 0:
            found.append(factor)
            rest //= factor
    return tuple(found) if rest == 1 else radices(1 << (hosts.bit_length() - 1))


def sources(round: Round) -> set[int]:
    """Return the hosts that a round reads from."""
    return {*round.sums, *(host for host, _ in round.copies)}


def peers(hosts: int, host: int) -> list[int]:
    """Return the hosts that a host reads from, in order; the same ones read from it."""
    return sorted(set().union(*map(sources, plan(hosts, host).rounds)) - {host})


def waiting(hosts: int, host: int, direct: bool = False) -> dict[int, list[int]]:
    """Return which of its peers wait for each stage of a host."""
    found: dict[int, list[int]] = {}
    for peer in peers(hosts, host):
        for round in plan(hosts, peer, direct).rounds:
            if host in sources(round):
                found.setdefault(round.needs, []).append(peer)
    return found


def most_peers(hosts: int) -> int:
    """Return how many peers a host has at most."""
    factors = radices(hosts)
    return sum(radix - 1 for radix in factors) + (math.prod(factors) < hosts)


def direct_costs(hosts: int) -> float:
    """Return how many models more a host reads with a `direct` plan than with another."""
    factors = radices(hosts)
    if not factors:
        return 0.0
    last = factors[-1]
    return (last - 1) * (1 - 2 / last) / math.prod(factors[:-1])


def plan(hosts: int, host: int, direct: bool = False) -> Plan:
    """Return the rounds of one of `hosts` hosts.

    Args:
        direct: the last round of the reduction and the first on the way back are one, among any hosts.
    """
    factors = radices(hosts)
    rounds: list[Round] = []
    last = len(factors)
    if last == 0:
        return Plan(factors, TOTALS, 2, ())
    within = 1
    for factor in factors:
        within *= factor
    if host >= within:
        rounds.append(Round(2 + 2 * last, 3 + 2 * last, (), (), ((host - within, ()),), TOTALS, TOTALS))
        return Plan(factors, 0, 1, tuple(rounds))
    folds = hosts > within  # then all sums lie in result 1 before the first round
    receives = host + within < hosts
    if receives:
        rounds.append(Round(1, 2, (host, host + within), (), (), 0, 1))
    # The reduction.
    digits: Digits = ()
    back: list[Round] = []
    place = 1
    for k, factor in enumerate(factors, start=1):
        digit = host // place % factor
        meets = tuple(host + (other - digit) * place for other in range(factor))
        source, target = (folds + k - 1) % 2, TOTALS if k == last else (folds + k) % 2
        copies = tuple((peer, (*digits, other)) for other, peer in enumerate(meets) if peer != host)
        digits = (*digits, digit)
        needs = 2 + 2 * last - k
        if k == last and (direct or factor == 2):
            rounds.append(Round(1 + k, needs + 1, meets, digits[:-1], (), source, target))
        else:
            rounds.append(Round(1 + k, 2 + k, meets, digits, (), source, target))
            back.insert(0, Round(needs, needs + 1, (), (), copies, TOTALS, TOTALS))
        place *= factor
    return Plan(factors, 1 if folds and not receives else 0, 1 if receives else 2, (*rounds, *back))
