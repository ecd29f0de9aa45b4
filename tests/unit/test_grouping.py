"""Who averages with whom, checked on every rank of many small worlds and a few ranks of large ones."""

import math
import pickle
import re
import tracemalloc
from dataclasses import FrozenInstanceError
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wagma_rma.groups import check as checking
from wagma_rma.groups.butterfly import Butterfly
from wagma_rma.groups.choice import choose
from wagma_rma.groups.grouping import Grouping
from wagma_rma.groups.strided import Strided
from wagma_rma.model.structure import Structure
from wagma_rma.options import LONGEST_PERIOD, Options

WORLDS = range(1, 65)
BUTTERFLIES = [
    choose(ranks, size)
    for ranks in WORLDS
    for size in range(1, ranks + 1)
    if isinstance(choose(ranks, size), Butterfly)
]
STRIDED = [Strided(ranks, size) for ranks in WORLDS for size in range(1, ranks + 1)]
MIXING = [g for g in STRIDED if g.size > 1]
# Hosts of h ranks each, more than one of both.
EVEN = [(g.ranks, g.size, h) for g in BUTTERFLIES for h in range(2, g.ranks) if g.ranks % h == 0]


def check(g, ranks):
    """Check a grouping as an averager does."""
    checking.check(g, ranks, LONGEST_PERIOD)


def turn(g):
    return range(1, g.period + 1)


def groups(g, step):
    """Return the different groups of a step."""
    return sorted({g.members(rank, step) for rank in range(g.ranks)})


def after(g, steps, values):
    """Return what each rank has when all have averaged with their groups at `steps`."""
    values = list(values)
    for step in steps:
        for group in groups(g, step):
            mean = sum(values[m] for m in group) / len(group)
            for m in group:
                values[m] = mean
    return values


def reached(g, rank):
    """Return the ranks connected to `rank` through the groups of a turn."""
    seen, waiting = {rank}, [rank]
    while waiting:
        here = waiting.pop()
        for step in turn(g):
            new = set(g.members(here, step)) - seen
            seen |= new
            waiting += new
    return seen


def in_smaller_groups(g, step):
    sizes = {len(group) for group in groups(g, step)}
    return {m for group in groups(g, step) if len(group) < max(sizes) for m in group}


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


def blocked(ranks, h):
    """Return the host of each rank where each host has the next h ranks."""
    return [rank // h for rank in range(ranks)]


def round_robin(ranks, h):
    """Return the host of each rank where ranks are dealt out to hosts of h ranks."""
    return [rank % (ranks // h) for rank in range(ranks)]


def by_host(hosts):
    """Return the ranks, ordered by host and then by rank."""
    return [rank for _, rank in sorted((host, rank) for rank, host in enumerate(hosts))]


def all_groups(g):
    """Return the groups of each step of a turn."""
    return [groups(g, step) for step in turn(g)]


def moved(table, order):
    """Return groups of positions, step by step, as groups of the ranks that `order` has there."""
    return [sorted(tuple(sorted(order[p] for p in group)) for group in step) for step in table]


def local(g, step):
    """Return whether all groups of a step lie within a host."""
    return all(len({g.hosts[m] for m in group}) == 1 for group in groups(g, step))


def share(g, step):
    """Return the share of what members read of each other, and of themselves, that is on their host."""
    same = [
        [g.hosts[a] == g.hosts[b] for b in group] for a in range(g.ranks) for group in [g.members(a, step)]
    ]
    return Fraction(sum(map(sum, same)), sum(map(len, same)))


@st.composite
def placements(draw, ranks):
    """Draw the host of each rank: any, or as many ranks on each; in any order."""
    if draw(st.booleans()):
        return draw(st.lists(st.integers(-2, 5), min_size=ranks, max_size=ranks))
    h = draw(st.sampled_from([h for h in range(1, ranks + 1) if ranks % h == 0]))
    return draw(st.permutations(blocked(ranks, h)))


@st.composite
def placed(draw, plain):
    """Draw a grouping out of `plain`, and the same with hosts."""
    g = draw(st.sampled_from(plain))
    return g, type(g)(g.ranks, g.size, hosts=draw(placements(g.ranks)))


# Both groupings.


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


@pytest.mark.parametrize("kind", [Butterfly, Strided])
@pytest.mark.parametrize(
    ("rank", "step", "message"),
    [
        (8, 1, "rank=8 is outside the communicator; pass rank between 0 and 7"),
        (-1, 1, "rank=-1 is outside the communicator; pass rank between 0 and 7"),
        (0, 0, "step=0 is before the first; pass step of at least 1"),
    ],
)
def test_members_refuses_ranks_and_steps_that_do_not_exist(kind, rank, step, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kind(8, 4).members(rank, step)


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


# Butterfly.


def test_the_schedule_of_the_paper_for_8_ranks_in_groups_of_4():
    g = Butterfly(8, 4)
    assert g.period == 3
    assert groups(g, 1) == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert groups(g, 2) == [(0, 1, 4, 5), (2, 3, 6, 7)]
    assert groups(g, 3) == [(0, 2, 4, 6), (1, 3, 5, 7)]
    assert groups(g, 4) == groups(g, 1)


@pytest.mark.parametrize("bits", range(1, 9))
def test_powers_of_two_follow_the_masks_of_the_paper(bits):
    for varied in range(1, bits + 1):
        g = Butterfly(2**bits, 2**varied)
        for t in range(3 * bits):
            masks = [1 << ((t * varied + r) % bits) for r in range(varied)]
            for rank in range(g.ranks):
                group = {rank}
                for mask in masks:
                    group |= {member ^ mask for member in group}
                assert g.members(rank, t + 1) == tuple(sorted(group))


def test_digits_are_the_prime_factors_ascending():
    g = Butterfly(12, 4)
    assert groups(g, 1) == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)]
    assert groups(g, 2) == [(0, 4, 8), (1, 5, 9), (2, 6, 10), (3, 7, 11)]
    assert g.period == 2


def test_a_window_wraps_around_to_the_first_digits():
    g = Butterfly(12, 6)
    assert [g.members(0, step) for step in turn(g)] == [
        (0, 1, 2, 3),
        (0, 1, 4, 5, 8, 9),
        (0, 2, 4, 6, 8, 10),
    ]


def test_a_turn_ends_where_windows_would_begin_to_repeat_without_digit_0():
    g = Butterfly(72, 6)
    assert [g.members(0, step) for step in turn(g)] == [
        (0, 1, 2, 3),
        (0, 4, 8, 12, 16, 20),
        (0, 1, 24, 25, 48, 49),
        (0, 2, 4, 6),
        (0, 8, 16),
    ]
    assert g.members(0, 6) == g.members(0, 1)


def test_a_full_turn_of_a_butterfly_yields_the_exact_global_mean():
    for g in BUTTERFLIES:
        values = [Fraction(3**rank) for rank in range(g.ranks)]
        assert after(g, turn(g), values) == [sum(values) / g.ranks] * g.ranks, g


@pytest.mark.parametrize(
    ("size", "k"), [(2, 6), (3, 3), (4, 3), (5, 2), (6, 2), (6, 3), (8, 2), (10, 2), (12, 2)]
)
def test_size_to_the_k_ranks_need_exactly_k_steps_from_any_step_on(size, k):
    g = choose(size**k, size)
    assert isinstance(g, Butterfly)
    assert g.period == k
    values = [Fraction(rank**2) for rank in range(g.ranks)]
    mean = [sum(values) / g.ranks] * g.ranks
    for first in turn(g):
        assert after(g, range(first, first + k), values) == mean
        assert after(g, range(first, first + k - 1), values) != mean


def test_the_largest_group_of_a_butterfly_has_size_members():
    for g in BUTTERFLIES:
        assert max(len(g.members(0, step)) for step in turn(g)) == g.size


@pytest.mark.parametrize(
    ("ranks", "size", "message"),
    [
        (
            6,
            2,
            "group_size=2 fits no butterfly of 6 ranks (prime factors [2, 3]); "
            "pass group_size=3 or use Strided(6, 2)",
        ),
        (
            8,
            3,
            "group_size=3 fits no butterfly of 8 ranks (prime factors [2, 2, 2]); "
            "pass group_size=2 or use Strided(8, 3)",
        ),
        (
            5,
            1,
            "group_size=1 fits no butterfly of 5 ranks (prime factors [5]); "
            "pass group_size=5 or use Strided(5, 1)",
        ),
    ],
)
def test_a_butterfly_that_does_not_exist_is_refused_with_one_that_does(ranks, size, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Butterfly(ranks, size)


def test_the_size_proposed_instead_is_one_that_a_butterfly_has():
    refused = 0
    for ranks in WORLDS:
        for size in range(1, ranks + 1):
            try:
                Butterfly(ranks, size)
            except ValueError as error:
                proposed = re.search(r"pass group_size=(\d+)", str(error))
                assert Butterfly(ranks, int(proposed[1])).size != size
                refused += 1
    assert refused == sum(WORLDS) - len(BUTTERFLIES)


# Strided.


def test_a_full_turn_of_strided_groups_connects_all_ranks():
    for g in MIXING:
        assert reached(g, 0) == set(range(g.ranks)), g


@pytest.mark.parametrize("ranks", [66, 96, 210, 1155, 2310])
@pytest.mark.parametrize("size", [2, 3, 4, 7])
def test_larger_worlds_with_many_small_factors_stay_connected(ranks, size):
    assert reached(Strided(ranks, size), 0) == set(range(ranks))


def test_there_are_as_few_strided_groups_as_size_allows_and_nearly_equal():
    for g in STRIDED:
        for step in turn(g):
            sizes = [len(group) for group in groups(g, step)]
            assert len(sizes) == math.ceil(g.ranks / g.size)
            assert max(sizes) - min(sizes) <= 1


def test_a_strided_turn_has_the_logarithm_of_the_ranks_to_base_size():
    for g in MIXING:
        assert g.size ** (g.period - 1) < g.ranks <= g.size**g.period
        assert g.period >= 2 or g.size == g.ranks


def test_groups_of_one_and_of_all_never_change():
    for ranks in WORLDS:
        assert Strided(ranks, 1).period == Strided(ranks, ranks).period == 1
        assert groups(Strided(ranks, 1), 1) == [(rank,) for rank in range(ranks)]
        assert groups(Strided(ranks, ranks), 1) == [tuple(range(ranks))]


def test_the_smaller_groups_move_from_rank_to_rank():
    uneven = [g for g in MIXING if in_smaller_groups(g, 1)]
    assert Strided(7, 3) in uneven
    for g in uneven:
        assert len({frozenset(in_smaller_groups(g, step)) for step in turn(g)}) > 1


@pytest.mark.parametrize("ranks", range(3, 64, 2))
def test_with_pairs_of_an_odd_number_of_ranks_nobody_is_alone_twice_in_a_turn(ranks):
    g = Strided(ranks, 2)
    alone = [group for step in turn(g) for group in groups(g, step) if len(group) == 1]
    assert len(alone) == len(set(alone)) == g.period


def test_blocks_shift_where_there_is_one_stride_only():
    g = Strided(6, 2)
    assert groups(g, 1) == [(0, 1), (2, 3), (4, 5)]
    assert groups(g, 2) == [(0, 5), (1, 2), (3, 4)]


@pytest.mark.parametrize(
    ("ranks", "size", "strides"),
    [
        (101, 4, [1, 4, 16, 64]),
        (16, 4, [1, 5]),  # 4 is not coprime to 16
        (18, 4, [1, 5, 7]),  # 4 and 16 are not coprime to 18, 17 is opposite to 1
        (9, 8, [1, 2]),  # 8 is opposite to 1
    ],
)
def test_strides_are_powers_of_size_moved_up_to_new_coprimes(ranks, size, strides):
    g = Strided(ranks, size)
    assert g.period == len(strides)
    for step, stride in zip(turn(g), strides, strict=True):
        for group in groups(g, step):
            ends = [m for m in group if (m + stride) % ranks not in group]
            assert len(ends) == 1


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


def test_equal_hosts_change_neither_the_period_nor_the_largest_group_of_a_butterfly():
    for ranks, size, h in EVEN:
        g = Butterfly(ranks, size, blocked(ranks, h))
        assert g.period == Butterfly(ranks, size).period, g
        assert max(len(g.members(0, step)) for step in turn(g)) == size, g


@settings(deadline=None)
@given(placed(BUTTERFLIES + STRIDED))
def test_groups_depend_on_who_is_with_whom_not_on_the_order_of_ranks(pair):
    plain, g = pair
    in_order = type(g)(g.ranks, g.size, hosts=sorted(g.hosts))
    assert all_groups(g) == moved(all_groups(in_order), by_host(g.hosts))
    sizes = {g.hosts.count(host) for host in g.hosts}
    if isinstance(g, Strided) or len(sizes) > 1:
        assert all_groups(in_order) == all_groups(plain)


@pytest.mark.parametrize("place", [blocked, round_robin])
def test_a_full_turn_of_a_butterfly_on_equal_hosts_yields_the_exact_global_mean(place):
    for ranks, size, h in EVEN:
        if ranks <= 40:
            g = Butterfly(ranks, size, place(ranks, h))
            values = [Fraction(3**rank) for rank in range(ranks)]
            assert after(g, turn(g), values) == [sum(values) / ranks] * ranks, g


@settings(deadline=None)
@given(placed(BUTTERFLIES))
def test_a_full_turn_of_a_butterfly_yields_the_exact_global_mean_wherever_ranks_are(pair):
    _, g = pair
    values = [Fraction(3**rank) for rank in range(g.ranks)]
    assert after(g, turn(g), values) == [sum(values) / g.ranks] * g.ranks


@pytest.mark.parametrize(("size", "k"), [(2, 6), (3, 3), (4, 3), (6, 2), (6, 3), (10, 2), (12, 2)])
def test_size_to_the_k_ranks_need_exactly_k_steps_on_hosts_of_any_size(size, k):
    ranks = size**k
    values = [Fraction(rank**2) for rank in range(ranks)]
    mean = [sum(values) / ranks] * ranks
    for h in (h for h in range(1, ranks + 1) if ranks % h == 0):
        assert all_groups(choose(ranks, size, blocked(ranks, h))) == all_groups(choose(ranks, size))
        g = choose(ranks, size, round_robin(ranks, h))
        assert g.period == k
        for first in turn(g):
            assert after(g, range(first, first + k), values) == mean
            assert after(g, range(first, first + k - 1), values) != mean


@settings(deadline=None)
@given(placed(MIXING))
def test_a_full_turn_of_strided_groups_connects_all_ranks_wherever_these_are(pair):
    _, g = pair
    assert reached(g, 0) == set(range(g.ranks))


def test_one_host_and_a_host_for_each_rank_are_as_none():
    for g in BUTTERFLIES + STRIDED:
        if g.ranks <= 24:
            for hosts in ([3] * g.ranks, range(g.ranks)):
                assert all_groups(type(g)(g.ranks, g.size, hosts)) == all_groups(g)


def test_unequal_hosts_leave_the_digits_as_they_are():
    for g in BUTTERFLIES:
        for first in range(1, g.ranks if g.ranks <= 24 else 1):
            rest = g.ranks - first
            if first != rest:
                assert all_groups(Butterfly(g.ranks, g.size, [0] * first + [1] * rest)) == all_groups(g)


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


@pytest.mark.parametrize("place", [blocked, round_robin])
@pytest.mark.parametrize(
    ("ranks", "size", "h", "steps"),
    [
        (8, 4, 4, [1]),
        (16, 2, 8, [1, 2, 3]),
        (64, 4, 16, [1, 2]),
        (64, 8, 16, [1]),
        (24, 4, 8, [1, 2]),
        (12, 4, 3, [1]),  # without hosts the digits are 2, 2, 3
        (12, 3, 6, [1, 2]),  # likewise
        (20, 5, 5, [1]),  # 2, 2, 5
        (30, 5, 15, [1, 2]),  # 2, 3, 5
        (48, 12, 12, [1]),
        (96, 12, 12, [1]),
    ],
)
def test_a_butterfly_begins_within_hosts(ranks, size, h, steps, place):
    g = choose(ranks, size, place(ranks, h))
    assert isinstance(g, Butterfly)
    assert [step for step in turn(g) if local(g, step)] == steps


def test_groups_whose_size_divides_the_hosts_begin_within_hosts():
    crossing = set()
    for ranks, size, h in EVEN:
        if h % size == 0 and not local(Butterfly(ranks, size, round_robin(ranks, h)), 1):
            crossing.add((ranks, size, h))
    # With the digits of a host first these would take another number of steps.
    assert crossing == {
        (20, 5, 10),
        (28, 7, 14),
        (36, 9, 18),
        (40, 10, 10),
        (40, 10, 20),
        (42, 7, 14),
        (42, 7, 21),
        (44, 11, 22),
        (52, 13, 26),
        (56, 14, 14),
        (56, 14, 28),
        (60, 5, 10),
        (60, 5, 30),
        (60, 10, 10),
        (60, 10, 30),
    }


def test_half_of_the_first_step_stays_within_hosts_where_groups_are_no_larger_than_two():
    for ranks, size, h in EVEN:
        g = Butterfly(ranks, size, round_robin(ranks, h))
        if len(g.members(0, 1)) <= 2 * h:
            assert share(g, 1) >= Fraction(1, 2), g


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


@pytest.mark.parametrize("make", [choose, Butterfly, Strided])
@pytest.mark.parametrize(
    ("hosts", "error", "message"),
    [
        ([0, 0, 1], ValueError, "hosts has 3 numbers, one for each rank would be 4"),
        (range(5), ValueError, "hosts has 5 numbers, one for each rank would be 4"),
        ((), ValueError, "hosts has 0 numbers, one for each rank would be 4"),
        (4, TypeError, "hosts=4 is not a sequence"),
        ({0, 1}, TypeError, "hosts={0, 1} is not a sequence"),
    ],
)
def test_hosts_that_are_not_one_number_for_each_rank_are_refused(make, hosts, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}; pass the number of each rank's host$"):
        make(4, 2, hosts)


@pytest.mark.parametrize("make", [choose, Butterfly, Strided])
@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ([0, 0, 1.0, 1], "hosts[2]=1.0 is not an integer; pass an int"),
        ([0, True, 1, 1], "hosts[1]=True is not an integer; pass an int"),
        (["a", "a", "b", "b"], "hosts[0]='a' is not an integer; pass an int"),
        ("0011", "hosts[0]='0' is not an integer; pass an int"),
    ],
)
def test_host_numbers_that_are_no_integers_are_refused(make, hosts, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        make(4, 2, hosts)


@settings(deadline=None)
@given(st.data())
def test_hosts_have_no_say_in_the_kind_and_size_chosen(data):
    ranks = data.draw(st.integers(1, 200))
    hosts = data.draw(placements(ranks))
    size = data.draw(st.none() | st.integers(1, ranks))
    g, plain = choose(ranks, size, hosts), choose(ranks, size)
    assert (type(g), g.size, g.period) == (type(plain), plain.size, plain.period)
    assert g.hosts == tuple(hosts)


def options(ranks, size, **given):
    return Options(ranks, size, 10, 1, "auto", given.pop("grouping", None), 0, None, **given)


@settings(deadline=None)
@given(st.data())
def test_hosts_do_not_change_the_window_of_an_averager(data):
    ranks = data.draw(st.integers(1, 64))
    size = data.draw(st.none() | st.integers(1, ranks))
    structure = Structure("test", np.zeros(5, np.float32))
    sizes = {
        options(ranks, size, hosts=hosts).layout(structure, True).nbytes
        for hosts in (None, data.draw(placements(ranks)))
    }
    assert len(sizes) == 1


def test_ranks_must_agree_on_the_hosts():
    facts = [options(4, 2, hosts=h).facts(4)["grouping"] for h in (None, [0, 0, 1, 1], [0, 1, 0, 1])]
    assert facts == [
        "Butterfly(ranks=4, size=2)",
        "Butterfly(ranks=4, size=2, hosts=(0, 0, 1, 1))",
        "Butterfly(ranks=4, size=2, hosts=(0, 1, 0, 1))",
    ]
    assert options(4, 2, hosts=[0, 1, 0, 1]).groups(0) == [(0, 2), (0, 1)]


def test_a_grouping_that_is_given_is_kept_in_spite_of_hosts():
    g = Strided(4, 2)
    assert options(4, None, grouping=g, hosts=[0, 1, 0, 1]).grouping is g


# choose.


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (1, Butterfly(1, 1)),
        (2, Butterfly(2, 2)),
        (3, Butterfly(3, 3)),
        (4, Butterfly(4, 2)),
        (5, Strided(5, 2)),
        (6, Butterfly(6, 3)),
        (7, Strided(7, 3)),
        (8, Butterfly(8, 2)),
        (9, Butterfly(9, 3)),
        (10, Butterfly(10, 5)),
        (11, Strided(11, 3)),
        (12, Butterfly(12, 3)),
        (13, Strided(13, 4)),
        (14, Butterfly(14, 7)),
        (15, Butterfly(15, 5)),
        (16, Butterfly(16, 4)),
        (17, Strided(17, 4)),
        (18, Butterfly(18, 3)),
        (19, Strided(19, 4)),
        (20, Butterfly(20, 5)),
        (21, Butterfly(21, 7)),
        (22, Strided(22, 5)),
        (23, Strided(23, 5)),
        (24, Butterfly(24, 4)),
        (64, Butterfly(64, 8)),
        (2**20, Butterfly(2**20, 2**10)),
        (1_000_003, Strided(1_000_003, 1000)),
    ],
)
def test_without_a_size_groups_have_about_the_square_root(ranks, expected):
    assert choose(ranks) == expected


def test_the_size_chosen_is_the_nearest_to_the_root_among_the_butterflies():
    for ranks in range(2, 200):
        root = math.sqrt(ranks)
        sizes = []
        for size in range(2, ranks + 1):
            near = root / 2 <= size <= root * 2
            if near and isinstance(choose(ranks, size), Butterfly):
                sizes.append(size)
        g = choose(ranks)
        if sizes:
            assert g == Butterfly(ranks, min(sizes, key=lambda s: (abs(s - root), s)))
        else:
            assert g == Strided(ranks, max(2, round(root)))


@pytest.mark.parametrize(
    ("ranks", "size", "expected"),
    [
        (8, 4, Butterfly(8, 4)),
        (12, 6, Butterfly(12, 6)),
        (7, 7, Butterfly(7, 7)),
        (1, 1, Butterfly(1, 1)),
        (8, 3, Strided(8, 3)),
        (7, 2, Strided(7, 2)),
        (8, 1, Strided(8, 1)),
        (np.int32(8), np.uint8(4), Butterfly(8, 4)),
    ],
)
def test_a_size_that_is_given_is_kept(ranks, size, expected):
    assert choose(ranks, size) == expected


@pytest.mark.parametrize("make", [choose, Butterfly, Strided])
@pytest.mark.parametrize(
    ("ranks", "size", "message"),
    [
        (
            4,
            6,
            "group_size=6 is larger than the communicator (4 ranks); pass group_size between 1 and 4",
        ),
        (4, 0, "group_size=0 is smaller than 1; pass group_size between 1 and 4"),
        (4, -2, "group_size=-2 is smaller than 1; pass group_size between 1 and 4"),
        (0, 1, "ranks=0 is smaller than 1; pass the size of a communicator"),
    ],
)
def test_a_size_out_of_range_is_refused_with_the_range(make, ranks, size, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(ranks, size)


@pytest.mark.parametrize("make", [choose, Butterfly, Strided])
@pytest.mark.parametrize(
    ("ranks", "size", "message"),
    [
        (4, 2.0, "group_size=2.0 is not an integer; pass an int"),
        (4, True, "group_size=True is not an integer; pass an int"),
        (4, "2", "group_size='2' is not an integer; pass an int"),
        (4.0, 2, "ranks=4.0 is not an integer; pass an int"),
        (True, 1, "ranks=True is not an integer; pass an int"),
    ],
)
def test_numbers_that_are_no_integers_are_refused(make, ranks, size, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        make(ranks, size)


def test_without_a_size_the_ranks_are_checked_as_well():
    with pytest.raises(ValueError, match=r"^ranks=0 is smaller than 1; "):
        choose(0)
    with pytest.raises(TypeError, match=r"^ranks=2\.5 is not an integer; "):
        choose(2.5)


# check.


class Table:
    """A grouping as users write it: the groups of each rank, step by step."""

    def __init__(self, *steps, **attributes):
        self.steps = steps
        self.ranks = len(steps[0])
        self.size = max(len(group) for groups_of in steps for group in groups_of)
        self.period = len(steps)
        vars(self).update(attributes)

    def __repr__(self):
        return "Table"

    def members(self, rank, step):
        return self.steps[(step - 1) % len(self.steps)][rank]


A, B = (0, 1), (2, 3)
PAIRS = [A, A, B, B]
CROSSED = [(0, 2), (1, 3), (0, 2), (1, 3)]


def test_a_sound_grouping_of_a_user_passes():
    check(Table(PAIRS, CROSSED), 4)
    check(Table([[0, 1], range(2), np.arange(2, 4).tolist(), [np.int64(2), 3]]), 4)
    check(Table([(0,), (1,)], size=2), 2)


@pytest.mark.parametrize(
    ("g", "message"),
    [
        (
            Table(PAIRS, [A, A, (3,), (3,)]),
            "members(rank=2, step=2) = (3,) lacks rank 2; return a group that includes it",
        ),
        (
            Table([A, (), B, B]),
            "members(rank=1, step=1) = () lacks rank 1; return a group that includes it",
        ),
        (
            Table([A, (1, 0), B, B]),
            "members(rank=1, step=1) = (1, 0) is not ascending; return each member once, in ascending order",
        ),
        (
            Table([A, A, (2, 2, 3), B]),
            "members(rank=2, step=1) = (2, 2, 3) is not ascending; "
            "return each member once, in ascending order",
        ),
        (
            Table([A, A, (2, 4), B]),
            "members(rank=2, step=1) = (2, 4) leaves the communicator (4 ranks); return ranks from 0 to 3",
        ),
        (
            Table([(-1, 0), A, B, B]),
            "members(rank=0, step=1) = (-1, 0) leaves the communicator (4 ranks); return ranks from 0 to 3",
        ),
        (
            Table(PAIRS, size=1),
            "members(rank=0, step=1) = (0, 1) has 2 members, more than grouping.size=1; return at most 1",
        ),
        (
            Table(PAIRS, [A, (1, 2), (1, 2), (3,)]),
            "members(rank=1, step=2) = (1, 2) overlaps members(rank=0, step=2) = (0, 1); "
            "return the same group for each of its members",
        ),
        (
            Table([(0,), A, B, B]),
            "members(rank=1, step=1) = (0, 1) overlaps members(rank=0, step=1) = (0,); "
            "return the same group for each of its members",
        ),
        (
            Table([A, (1,), B, B]),
            "members(rank=1, step=1) = (1,) overlaps members(rank=0, step=1) = (0, 1); "
            "return the same group for each of its members",
        ),
        (
            Table(PAIRS, CROSSED, period=1),
            "members(rank=0, step=1) = (0, 1) differs from members(rank=0, step=2) = (0, 2) "
            "in spite of grouping.period=1; return the same group a period later",
        ),
        (
            Table(PAIRS, ranks=5),
            "grouping.ranks=5 is not the size of the communicator (4 ranks); pass a grouping of 4 ranks",
        ),
        (
            Table(PAIRS, size=5),
            "group_size=5 is larger than the communicator (4 ranks); pass group_size between 1 and 4",
        ),
        (
            Table(PAIRS, size=0),
            "group_size=0 is smaller than 1; pass group_size between 1 and 4",
        ),
        (
            Table(PAIRS, period=0),
            "grouping.period=0 is not between 1 and 254; repeat the groups within as many steps",
        ),
        (
            Table(PAIRS, period=255),
            "grouping.period=255 is not between 1 and 254; repeat the groups within as many steps",
        ),
    ],
)
def test_an_unsound_grouping_is_refused_with_step_rank_value_and_cure(g, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check(g, 4)


@pytest.mark.parametrize(
    ("g", "message"),
    [
        (
            object,
            "grouping=<class 'object'> has no ranks, size, period, members; "
            "pass an object with all that wagma_rma.Grouping describes",
        ),
        (Table(PAIRS, period=1.0), "grouping.period=1.0 is not an integer; pass an int"),
        (Table(PAIRS, period=True), "grouping.period=True is not an integer; pass an int"),
        (Table(PAIRS, size=2.0), "group_size=2.0 is not an integer; pass an int"),
        (Table(PAIRS, ranks="4"), "ranks='4' is not an integer; pass an int"),
        (Table(PAIRS, members=4), "'int' object is not callable"),
        (
            Table([{0, 1}, A, B, B]),
            "members(rank=0, step=1) = {0, 1} is not a sequence; return a tuple of ranks",
        ),
        (
            Table([A, (0, 1.0), B, B]),
            "member of members(rank=1, step=1): rank=1.0 is not an integer; pass an int",
        ),
    ],
)
def test_an_object_that_is_no_grouping_is_refused(g, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        check(g, 4)
