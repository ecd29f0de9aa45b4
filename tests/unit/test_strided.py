"""Groups for any number of ranks: nearly equal, new at each step, and a full turn connects all ranks."""

import math

import pytest
from hypothesis import given, settings

from tests.support.groupings import MIXING, STRIDED, WORLDS, groups, placed, turn
from wagma_rma.groups.strided import Strided


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


def in_smaller_groups(g, step):
    sizes = {len(group) for group in groups(g, step)}
    return {m for group in groups(g, step) if len(group) < max(sizes) for m in group}


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


@settings(deadline=None)
@given(placed(MIXING))
def test_a_full_turn_of_strided_groups_connects_all_ranks_wherever_these_are(pair):
    _, g = pair
    assert reached(g, 0) == set(range(g.ranks))
