"""Elastic synchronisations: ranks that are behind are called to them, and skip steps."""

import pytest

from tests.support import pool


@pytest.mark.parametrize("lent", [False, True])
def test_a_rank_that_is_behind_jumps_to_the_synchronisation_at_its_next_call(lent):
    ran = pool.run(3, "ranks.elastic:last_comes_late", lent=lent)
    for rank in ran[:2]:
        assert rank["told"] == [[5, "SYNCHRONIZED", 0], [10, "SYNCHRONIZED", 0]]
        assert rank["steps"] == [10, 2, 0]
    assert ran[2]["told"] == [[5, "SYNCHRONIZED", 4], [10, "SYNCHRONIZED", 4]]
    assert ran[2]["steps"] == [2, 2, 8]
    for rank in ran:
        # Ranks 0 and 1 come with their models of steps 5 and 10, rank 2 with those of its calls, 1 and 6.
        assert rank["models"] == [[(50 + 51 + 12) / 3] * 3, [(100 + 101 + 62) / 3] * 3]
        assert rank["state"] == {"step": 10}


def test_a_member_that_waits_for_its_groups_quorum_opens_the_record_when_all_are_called():
    first, second, *others = pool.run(4, "ranks.elastic:quorum_of_groups")
    assert first == [[1, "FRESH", 0, [0, 1]], [4, "SYNCHRONIZED", 2, [0] * 4]]
    assert second == [[4, "SYNCHRONIZED", 3, [0] * 4]]
    for rank in others:
        assert [step[:3] for step in rank] == [
            [1, "FRESH", 0],
            [2, "FRESH", 0],
            [3, "FRESH", 0],
            [4, "SYNCHRONIZED", 0],
        ]


@pytest.mark.parametrize("how", ["timeout", "ctrl-c"])
def test_a_jump_that_is_cut_short_is_continued_by_the_next_average(how):
    ran = pool.run(3, "ranks.elastic:cut_short", how=how)
    assert ran[0]["errors"] == [{"timeout": "SynchronizationTimeout", "ctrl-c": "KeyboardInterrupt"}[how], 0]
    assert ran[0]["told"] == [5, "SYNCHRONIZED", 4]
    assert len({tuple(rank["model"]) for rank in ran}) == 1


def test_a_rank_that_is_called_and_comes_with_a_wrong_model_can_come_again():
    ran = pool.run(3, "ranks.elastic:wrong_model")
    kinds, text = ran[0]["errors"]
    assert "ValueError" in kinds
    assert text.startswith("average: ")
    for rank in ran:
        assert rank["told"] == [5, "SYNCHRONIZED", 0 if rank is not ran[0] else 4]
        assert rank["model"] == [(10 + 51 + 52) / 3] * 3


def test_a_loop_of_a_fixed_number_of_calls_gets_an_error_that_tells_the_cure():
    ran = pool.run(3, "ranks.elastic:fixed_number_of_calls", limit=60, synchronizes=False)
    assert ran[0]["reached"] == 14
    kinds, text = ran[0]["errors"]
    assert "StepMismatch" in kinds
    assert "has closed its averager while rank 0 synchronises step 15" in text
    assert "loop `while averager.step < steps`" in text
    for rank in ran[1:]:
        assert rank["reached"] == 10


def test_ranks_that_synchronise_after_a_fixed_number_of_calls_get_it_too():
    ran = pool.run(3, "ranks.elastic:fixed_number_of_calls", limit=60, synchronizes=True)
    assert [rank["reached"] for rank in ran] == [14, 10, 10]
    for rank in ran:
        kinds, text = rank["errors"]
        assert "StepMismatch" in kinds
        assert "every rank must call synchronize() at the same step; where ranks skip steps, loop" in text


def test_ranks_that_may_jump_can_synchronise_by_a_call_of_their_own():
    for rank in pool.run(3, "ranks.elastic:explicit"):
        assert rank == [3, [1.0] * 3, [5, "SYNCHRONIZED"]]


def test_a_rank_that_leaves_is_named_where_the_others_wait():
    ran = pool.run(3, "ranks.elastic:leaves", limit=60)
    for rank in (ran[0], ran[2]):
        kinds, text = rank
        assert "RankLeft" in kinds
        assert "rank 1 has left (ValueError: no data)" in text


@pytest.mark.parametrize(("patience", "told"), [(0.6, [5, "SYNCHRONIZED", 4]), (0.0, [1, "LATE", 0])])
def test_a_rank_that_is_behind_waits_for_a_call_that_is_due_as_long_as_its_patience(patience, told):
    ran = pool.run(3, "ranks.elastic:call_is_due", patience=patience)
    assert ran[0] == [*told, patience > 0]
    assert ran[1][:3] == ran[2][:3] == [5, "SYNCHRONIZED", 0]


def test_a_quorum_may_be_a_fraction_and_a_run_may_start_in_the_middle_of_a_period():
    ran = pool.run(3, "ranks.elastic:starts_later")
    assert ran[0] == [2, 10, "SYNCHRONIZED", 2]
    assert ran[1][:3] == ran[2][:3] == [2, 10, "SYNCHRONIZED"]


def test_where_fewer_ranks_than_the_quorum_have_not_joined_all_of_these_are_enough():
    ran = pool.run(3, "ranks.elastic:joined_ranks")
    assert {(step, tuple(model)) for step, model, _ in ran} == {(6, (ran[0][1][0],) * 3)}
    assert ran[2][2] == [5, "SYNCHRONIZED", 0]


def test_a_rank_that_has_joined_calls_nobody():
    ran = pool.run(3, "ranks.elastic:joined_do_not_call")
    assert [rank[0] for rank in ran[1:]] == [0, 0]
    assert {rank[1] for rank in ran} == {6}


def test_ranks_must_agree_on_the_quorum():
    for kinds, text in pool.run(3, "ranks.elastic:disagree"):
        assert "ValueError" in kinds
        assert "sync_quorum is 2 at rank 1 but 1 at rank 0" in text


def test_nobody_waits_long_for_a_rank_at_half_speed():
    ran = pool.run(3, "ranks.elastic:half_speed", limit=90, steps=30, seconds=0.05)
    together, elastic = ran[1]
    assert elastic[0] < 0.85 * together[0]
    assert elastic[1] < 0.5 * together[1]
    assert ran[0][1][2] > 5
    assert ran[1][1][2] == 0
