"""Groups that follow the digits of the rank: a full turn gives the exact global mean."""

import re
from fractions import Fraction

import pytest
from hypothesis import given, settings

from tests.support.groupings import (
    BUTTERFLIES,
    WORLDS,
    all_groups,
    blocked,
    groups,
    placed,
    round_robin,
    turn,
)
from wagma_rma.groups.butterfly import Butterfly
from wagma_rma.groups.choice import choose

# Hosts of h ranks each, more than one of both.
EVEN = [(g.ranks, g.size, h) for g in BUTTERFLIES for h in range(2, g.ranks) if g.ranks % h == 0]


def local(g, step):
    """Return whether all groups of a step lie within a host."""
    return all(len({g.hosts[m] for m in group}) == 1 for group in groups(g, step))


def share(g, step):
    """Return the share of what members read of each other, and of themselves, that is on their host."""
    same = [
        [g.hosts[a] == g.hosts[b] for b in group] for a in range(g.ranks) for group in [g.members(a, step)]
    ]
    return Fraction(sum(map(sum, same)), sum(map(len, same)))


def after(g, steps, values):
    """Return what each rank has when all have averaged with their groups at `steps`."""
    values = list(values)
    for step in steps:
        for group in groups(g, step):
            mean = sum(values[m] for m in group) / len(group)
            for m in group:
                values[m] = mean
    return values


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


# Hosts.


def test_equal_hosts_change_neither_the_period_nor_the_largest_group_of_a_butterfly():
    for ranks, size, h in EVEN:
        g = Butterfly(ranks, size, blocked(ranks, h))
        assert g.period == Butterfly(ranks, size).period, g
        assert max(len(g.members(0, step)) for step in turn(g)) == size, g


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


def test_unequal_hosts_leave_the_digits_as_they_are():
    for g in BUTTERFLIES:
        for first in range(1, g.ranks if g.ranks <= 24 else 1):
            rest = g.ranks - first
            if first != rest:
                assert all_groups(Butterfly(g.ranks, g.size, [0] * first + [1] * rest)) == all_groups(g)


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
