"""Hosts exchange sums round by round, each at its own pace: every host gets the sum of all.

What a host brings is a number with one bit, the host's. So a total tells which hosts are in it, how often.
"""

import math
import random

import pytest

from wagma_rma.protocol.rounds import (
    LARGEST_RADIX,
    TOTALS,
    direct_costs,
    most_peers,
    peers,
    plan,
    radices,
    sources,
    waiting,
)

HOSTS = [*range(1, 20), 24, 27, 30, 33, 35, 49, 64, 65]
SMOOTH = [hosts for hosts in HOSTS if math.prod(radices(hosts)) == hosts]


class Host:
    """One host: its three results, its stage, and where it is in its rounds.

    Args:
        elements: of a column; a multiple of the product of the radices.
    """

    def __init__(self, number, hosts, elements, direct):
        self.number, self.elements = number, elements
        self.plan = plan(hosts, number, direct)
        self.results = [[None] * elements for _ in range(TOTALS + 1)]
        self.results[self.plan.target] = [1 << number] * elements
        self.stage = self.plan.stage
        self.heard = dict.fromkeys(peers(hosts, number), 0)  # which stage each peer has told
        self.waiting = waiting(hosts, number, direct)
        self.rounds = list(self.plan.rounds)
        self.left = None  # of the round under way: (element, hosts to read)
        self.elements_read = 0

    def part(self, digits):
        """Return the elements of a part, as Reduction.part_of narrows a column."""
        begin, end = 0, self.elements
        for digit, radix in zip(digits, self.plan.radices, strict=False):
            begin, end = begin + (end - begin) * digit // radix, begin + (end - begin) * (digit + 1) // radix
        return range(begin, end)

    def tell(self, hosts):
        """Tell the stage to the hosts that wait for it."""
        for host in self.waiting.get(self.stage, []):
            hosts[host].heard[self.number] = self.stage

    def can_go_on(self):
        if self.left is not None:
            return True
        if not self.rounds:
            return False
        round = self.rounds[0]
        return all(self.heard[source] >= round.needs for source in sources(round) - {self.number})

    def go_on(self, hosts, rng):
        """Begin a round, or sum or copy one element of it, whichever; the last one ends it."""
        round = self.rounds[0]
        if self.left is None:
            self.left = [(element, round.sums) for element in self.part(round.part) if round.sums]
            self.left += [(element, (host,)) for host, part in round.copies for element in self.part(part)]
            rng.shuffle(self.left)
        if self.left:
            element, sources = self.left.pop()
            self.elements_read += sum(source != self.number for source in sources)
            found = [hosts[source].results[round.source][element] for source in sources]
            self.results[round.target][element] = sum(found)
        if not self.left:
            self.left = None
            self.stage = round.reaches
            self.rounds.pop(0)
            self.tell(hosts)


def exchange(count, seed, most_parts=4, direct=False):
    """Let hosts perform their rounds in a random order; return them."""
    rng = random.Random(seed)
    elements = math.prod(radices(count)) * rng.randint(1, most_parts)
    hosts = [Host(number, count, elements, direct) for number in range(count)]
    for host in hosts:
        host.tell(hosts)
    # Some are slow, so that others are far ahead of them.
    slow = set(rng.sample(range(count), rng.randint(0, count // 2)))
    while any(host.can_go_on() for host in hosts):
        for host in rng.choices(hosts, k=count):
            if (host.number not in slow or rng.random() < 0.05) and host.can_go_on():
                host.go_on(hosts, rng)
    return hosts


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("count", HOSTS)
def test_every_host_gets_all_sums_in_whatever_order_hosts_go_on(count, direct):
    for seed in range(2 if count > 20 else 20):
        hosts = exchange(count, seed, 1 if count > 20 else 4, direct)
        assert not any(host.rounds for host in hosts), "they wait for each other"
        for host in hosts:
            assert set(host.results[TOTALS]) == {(1 << count) - 1}


@pytest.mark.parametrize("count", SMOOTH)
def test_a_host_reads_no_more_than_in_the_best_of_allreduces(count):
    for host in exchange(count, 0, most_parts=1):
        assert host.elements_read * count == 2 * (count - 1) * host.elements


@pytest.mark.parametrize("count", sorted({*HOSTS} - {*SMOOTH}))
def test_a_number_of_hosts_without_small_factors_costs_some_hosts_one_model_more(count):
    within = math.prod(radices(count))
    for host in exchange(count, 0, most_parts=1):
        if host.number >= within:
            assert host.elements_read == host.elements
        else:
            handed_on = host.elements if host.number + within < count else 0
            assert (host.elements_read - handed_on) * within == 2 * (within - 1) * host.elements


@pytest.mark.parametrize("count", SMOOTH)
def test_a_direct_exchange_saves_a_round_and_costs_what_it_is_said_to_cost(count):
    for host in exchange(count, 0, most_parts=1, direct=True):
        read = 2 * (count - 1) / count + direct_costs(count)
        assert host.elements_read == pytest.approx(read * host.elements)
        assert len(host.plan.rounds) == max(0, 2 * len(radices(count)) - 1)


@pytest.mark.parametrize("count", HOSTS)
def test_no_host_has_more_peers_than_most_peers(count):
    found = [len(peers(count, host)) for host in range(count)]
    assert max(found) == most_peers(count)
    for host in range(count):
        assert all(host in peers(count, peer) for peer in peers(count, host))


@pytest.mark.parametrize("count", HOSTS)
def test_hosts_talk_to_few_others_in_few_rounds(count):
    factors = radices(count)
    assert all(2 <= factor <= LARGEST_RADIX for factor in factors)
    assert math.prod(factors) in (count, 1 << (count.bit_length() - 1))
    for number in range(count):
        rounds = plan(count, number).rounds
        assert len(rounds) <= 2 * len(factors) + 1
        for round in rounds:
            assert len(sources(round)) <= LARGEST_RADIX


@pytest.mark.parametrize("count", HOSTS)
def test_a_stage_tells_each_round_and_grows(count):
    for number in range(count):
        own = plan(count, number)
        stages = [own.stage, *(round.reaches for round in own.rounds)]
        assert stages == sorted(set(stages))
