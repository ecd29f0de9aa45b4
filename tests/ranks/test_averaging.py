"""Ranks on time: every group gets numpy's average to the bit, every synchronisation the same bits for all."""

import pytest

from tests.support import pool

LARGE = [pytest.param(ranks, marks=pytest.mark.slow) for ranks in (7, 8, 12, 16)]


@pytest.mark.parametrize("ranks", [*range(1, 7), *LARGE])
def test_every_group_size_gives_numpys_sum_to_the_bit(ranks):
    for rank, wrong in enumerate(pool.run(ranks, "ranks.averaging:exact", limit=240)):
        assert wrong == [], f"rank {rank}"


@pytest.mark.parametrize("ranks", [1, 2, 4, 6])
def test_models_in_the_window_give_numpys_sum_to_the_bit(ranks):
    for rank, wrong in enumerate(pool.run(ranks, "ranks.averaging:exact", limit=240, lent=True)):
        assert wrong == [], f"rank {rank}"


@pytest.mark.parametrize(("ranks", "size", "steps"), [(4, 2, 2), (8, 2, 3), (9, 3, 2), (6, 3, 2), (12, 4, 2)])
def test_one_turn_of_the_butterfly_gives_the_global_mean(ranks, size, steps):
    for deviation, period in pool.run(ranks, "ranks.averaging:full_turn", size=size):
        assert period == steps
        assert deviation < 1e-14


def test_chunks_may_cut_leaves_anywhere_and_each_has_one_owner():
    assert pool.run(4, "ranks.averaging:chunked") == [[], [], [], []]


def test_the_numpy_api_keeps_its_contract():
    for facts in pool.run(2, "ranks.averaging:contract"):
        assert facts == {
            "broadcast": 0.0,
            "start": [6, 6, "SYNCHRONIZED"],
            "bytes": True,
            "group_step": [7, "FRESH", True],
            "containers": ["dict", ["w", "b"], "list"],
            "out": True,
            "synchronized": [8, "SYNCHRONIZED", 1.5],
            "explicit": [9, True, 1.5, "SYNCHRONIZED"],
            "statistics": [3, 1, 2],
            "tied": 0.5,
        }


def test_an_output_may_lie_where_other_leaves_are_read_from():
    assert pool.run(2, "ranks.averaging:entangled") == [[0, 0, 0, 0]] * 2
    assert pool.run(2, "ranks.averaging:swapped") == [[[11.5], [1.5]]] * 2


def test_the_start_may_be_sent_in_blocks():
    for start, mean in pool.run(3, "ranks.averaging:in_blocks"):
        assert start == [list(range(100)), [0] * 33]
        assert mean == [[i + 1 for i in range(100)], [1] * 33]


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_group_of_one_keeps_its_model_between_synchronisations(ranks):
    default, one = zip(*pool.run(ranks, "ranks.averaging:alone"), strict=True)
    for values, fresh, synchronized in one + (default if ranks == 1 else ()):
        assert values == [0, 1, 2, 3, 4]
        assert (fresh, synchronized) == (4, 2)


@pytest.mark.parametrize(("group_period", "start_step"), [(2, 0), (3, 0), (3, 4), (7, 0)])
def test_with_a_group_period_groups_average_at_its_multiples_and_the_turn_goes_on(group_period, start_step):
    told = pool.run(4, "ranks.averaging:seldom", group_period=group_period, start_step=start_step)
    assert told == [[]] * 4


@pytest.mark.parametrize("group_period", [1, 3])
@pytest.mark.parametrize("out", ["new", "in place", "lent"])
def test_leaves_may_be_averaged_at_synchronisations_only(out, group_period):
    told = pool.run(3, "ranks.averaging:moments_alone", out=out, group_period=group_period)
    assert told == [[]] * 3


def test_users_may_pass_their_own_grouping():
    seen = pool.run(4, "ranks.averaging:own_grouping")
    assert seen[0] == [[[0, 3], 1.5], [[0, 1], 1.5]]
    assert seen[2] == [[[1, 2], 1.5], [[2, 3], 1.5]]


@pytest.mark.parametrize("synchronize", [False, True], ids=["quorum", "synchronisation"])
def test_other_threads_of_a_rank_run_while_it_waits(synchronize):
    ran = pool.run(2, "ranks.averaging:beside", limit=90, synchronize=synchronize)
    assert ran == [[100_000, [0.5] * 3], [0, [0.5] * 3]]
