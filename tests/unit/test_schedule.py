"""What both groupings promise, on every rank of many small worlds and a few ranks of large ones."""

import math
import pickle
import tracemalloc
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.groupings import (
    BUTTERFLIES,
    STRIDED,
    all_groups,
    blocked,
    check,
    placed,
    round_robin,
    turn,
)
from wagma_rma.groups.butterfly import Butterfly
from wagma_rma.groups.choice import choose
from wagma_rma.groups.grouping import Grouping
from wagma_rma.groups.strided import Strided
from wagma_rma.options import LONGEST_PERIOD


def traced(make):
    """Return a grouping, one of its groups, and the most bytes that both took."""
    tracemalloc.start()
    try:
        g = make()
        group = g.members(g.ranks - 1, 2)
        return g, group, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@st.composite
def worlds(draw):
    ranks = draw(st.integers(1, 5000))
    size = draw(st.integers(1, ranks))
    return draw(st.sampled_from([choose, Strided]))(ranks, size)


def by_host(hosts):
    """Return the ranks, ordered by host and then by rank."""
    return [rank for _, rank in sorted((host, rank) for rank, host in enumerate(hosts))]


def moved(table, order):
    """Return groups of positions, step by step, as groups of the ranks that `order` has there."""
    return [sorted(tuple(sorted(order[p] for p in group)) for group in step) for step in table]


def test_groups_partition_the_ranks_and_repeat_after_a_period():
    for g in BUTTERFLIES + STRIDED:
        check(g, g.ranks)


@settings(deadline=None)
@given(worlds(), st.data())
def test_all_members_are_given_the_same_ascending_group(g, data):
    rank = data.draw(st.integers(0, g.ranks - 1))
    step = data.draw(st.integers(1, 10**6))
    group = g.members(rank, step)
    assert rank in group
    assert len(group) <= g.size
    assert list(group) == sorted(set(group))
    assert g.members(data.draw(st.sampled_from(group)), step) == group
    assert group == g.members(rank, (step - 1) % g.period + 1)


@settings(deadline=None)
@given(worlds())
def test_a_period_has_a_snapshot_for_each_of_its_groupings(g):
    assert 1 <= g.period <= min(LONGEST_PERIOD, max(1, math.ceil(math.log2(g.ranks))))


@pytest.mark.parametrize("kind", [Butterfly, Strided])
def test_a_grouping_is_an_immutable_value(kind):
    g = kind(9, 3)
    assert isinstance(g, Grouping)
    assert g == kind(np.int64(9), np.int32(3))
    assert g != kind(9, 9)
    assert hash(g) == hash(kind(9, 3))
    assert repr(g) == f"{kind.__name__}(ranks=9, size=3)"
    assert pickle.loads(pickle.dumps(g)).members(4, 2) == g.members(4, 2)
    with pytest.raises(FrozenInstanceError):
        g.size = 1


@pytest.mark.parametrize("kind", [Butterfly, Strided])
def test_numpy_integers_serve_as_rank_and_step(kind):
    g = kind(3**12, 9)
    group = g.members(np.int32(3**12 - 1), np.int64(2))
    assert group == g.members(3**12 - 1, 2)
    assert {type(member) for member in group} == {int}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Butterfly(2**20, 2**10),
        lambda: Strided(2**20, 2**10),
        lambda: Strided(1_000_003, 1000),
        lambda: choose(2**20),
        lambda: choose(1_000_003),
    ],
)
def test_a_million_ranks_cost_less_than_a_byte_each(make):
    g, group, peak = traced(make)
    assert 900 < len(group) <= g.size
    assert peak < g.ranks // 4


@pytest.mark.parametrize("make", [lambda: Butterfly(2**40, 4), lambda: Strided(10**12 + 39, 4)])
def test_memory_goes_with_the_group_not_with_the_ranks(make):
    g, group, peak = traced(make)
    assert len(group) == g.size
    assert peak < 30_000


# Hosts.


@settings(deadline=None)
@given(placed(BUTTERFLIES + STRIDED))
def test_groups_partition_the_ranks_wherever_these_are(pair):
    _, g = pair
    check(g, g.ranks)


@settings(deadline=None)
@given(placed(BUTTERFLIES + STRIDED))
def test_hosts_change_neither_the_period_nor_the_sizes_of_groups(pair):
    plain, g = pair
    assert (g.ranks, g.size, g.period) == (plain.ranks, plain.size, plain.period)
    assert max(len(g.members(rank, step)) for rank in range(g.ranks) for step in turn(g)) == max(
        len(plain.members(rank, step)) for rank in range(g.ranks) for step in turn(g)
    )


@settings(deadline=None)
@given(placed(BUTTERFLIES + STRIDED))
def test_groups_depend_on_who_is_with_whom_not_on_the_order_of_ranks(pair):
    plain, g = pair
    in_order = type(g)(g.ranks, g.size, hosts=sorted(g.hosts))
    assert all_groups(g) == moved(all_groups(in_order), by_host(g.hosts))
    sizes = {g.hosts.count(host) for host in g.hosts}
    if isinstance(g, Strided) or len(sizes) > 1:
        assert all_groups(in_order) == all_groups(plain)


def test_one_host_and_a_host_for_each_rank_are_as_none():
    for g in BUTTERFLIES + STRIDED:
        if g.ranks <= 24:
            for hosts in ([3] * g.ranks, range(g.ranks)):
                assert all_groups(type(g)(g.ranks, g.size, hosts)) == all_groups(g)


@pytest.mark.parametrize(
    ("g", "expected"),
    [
        # Two hosts of 4: two steps within a host, one across.
        (
            Butterfly(8, 2, blocked(8, 4)),
            [
                [(0, 1), (2, 3), (4, 5), (6, 7)],
                [(0, 2), (1, 3), (4, 6), (5, 7)],
                [(0, 4), (1, 5), (2, 6), (3, 7)],
            ],
        ),
        (
            Butterfly(8, 2, round_robin(8, 4)),
            [
                [(0, 2), (1, 3), (4, 6), (5, 7)],
                [(0, 4), (1, 5), (2, 6), (3, 7)],
                [(0, 1), (2, 3), (4, 5), (6, 7)],
            ],
        ),
        # Two hosts of 3: without hosts the digits are 2 and 3.
        (Butterfly(6, 3, blocked(6, 3)), [[(0, 1, 2), (3, 4, 5)], [(0, 3), (1, 4), (2, 5)]]),
        # Unequal hosts: ranks 1, 2, 3 and 0; 0, 2, 3, 4, 6 and 1, 5, 7.
        (Butterfly(4, 2, (1, 0, 0, 0)), [[(0, 3), (1, 2)], [(0, 2), (1, 3)]]),
        (
            Butterfly(8, 4, (0, 1, 0, 0, 0, 1, 0, 1)),
            [
                [(0, 2, 3, 4), (1, 5, 6, 7)],
                [(0, 1, 2, 6), (3, 4, 5, 7)],
                [(0, 3, 5, 6), (1, 2, 4, 7)],
            ],
        ),
        (Strided(4, 2, (7, 2, 7, 2)), [[(0, 2), (1, 3)], [(0, 3), (1, 2)]]),
    ],
)
def test_positions_follow_host_and_rank(g, expected):
    assert all_groups(g) == expected


@pytest.mark.parametrize("kind", [Butterfly, Strided])
def test_hosts_are_part_of_the_value(kind):
    hosts = (0, 0, 0, 4, 4, 4, 2, 2, 2)
    g = kind(9, 3, hosts)
    assert g.hosts == hosts
    assert g == kind(9, 3, hosts=[np.int64(host) for host in hosts])
    assert hash(g) == hash(kind(9, 3, list(hosts)))
    assert g != kind(9, 3)
    assert g != kind(9, 3, sorted(hosts))
    assert repr(g) == f"{kind.__name__}(ranks=9, size=3, hosts={hosts})"
    assert repr(kind(9, 3, hosts=np.array(hosts).tolist())) == repr(g)
    assert eval(repr(g)) == g
    assert pickle.loads(pickle.dumps(g)).members(4, 2) == g.members(4, 2)
    with pytest.raises(FrozenInstanceError):
        g.hosts = None
