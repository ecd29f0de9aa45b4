"""Members meet in a record: who starts the average, what contributes, and which sum a late member uses."""

from functools import partial

import numpy as np
import pytest

from tests.support.worlds import make_ranks, together

TRIO = ([(0, 1, 2)],)
FRESH, LATE, MISSED = 0, 1, 2


def model(value):
    return [np.full(70, value, np.float32)]


def report(rank, *fields):
    found = rank.protocol.report()
    return [found[field] for field in fields] if len(fields) > 1 else found[fields[0]]


def assert_all_settled(ranks):
    """Check that no pin is out and no chunk is left to sum, as between steps."""
    for rank in ranks:
        assert rank.snapshots.pins() == [0] * rank.layout.slots
        assert rank.protocol.unfinished() == []


def test_the_first_to_arrive_starts_the_average_and_is_fresh():
    ranks = make_ranks(model(0), TRIO, ranks=3)
    for rank in (ranks[1], ranks[0], ranks[2]):
        rank.average(1, model(1))
    assert [report(rank, "initiated", "outcome") for rank in ranks] == [[0, LATE], [1, FRESH], [0, LATE]]
    assert_all_settled(ranks)


def test_an_absent_member_contributes_what_it_published_last():
    ranks = make_ranks(model(0), TRIO, ranks=3)
    ranks[2].average(1, model(9))
    for step in (2, 3):
        (average,) = ranks[0].average(step, model(3))
    assert report(ranks[0], "ages") == (0, 3, 2)
    assert (average == (3 + 0 + 9) / 3).all()
    assert_all_settled(ranks)


def test_a_late_member_sees_the_ages_that_the_first_one_has_written():
    ranks = make_ranks(model(0), TRIO, ranks=3)
    for rank in ranks:
        rank.average(1, model(1))
    ranks[1].average(2, model(2))
    ranks[0].average(2, model(2))
    assert report(ranks[0], "ages") == report(ranks[1], "ages") == (1, 0, 1)


def test_a_late_member_takes_the_newest_sum_that_used_an_old_model_of_its_own():
    ranks = make_ranks(model(0))
    for step in (1, 2, 3):
        ranks[0].average(step, model(step))
    (average,) = ranks[1].average(1, model(9))
    assert report(ranks[1], "step", "source_step", "outcome") == [1, 3, LATE]
    assert report(ranks[1], "ages") == (0, 3)
    assert (average == (3 + 0 + 9) / 3).all()
    assert_all_settled(ranks)


def test_a_member_that_has_been_used_at_its_newest_step_stays_with_that_step():
    ranks = make_ranks(model(0))
    ranks[1].average(1, model(5))  # alone, and in time
    ranks[0].average(1, model(1))
    ranks[0].average(2, model(2))  # with rank 1's model of step 1
    ranks[1].average(2, model(6))
    assert report(ranks[1], "source_step", "ages") == [2, (0, 1)]


def test_all_who_wait_for_the_quorum_are_fresh_and_one_of_them_starts():
    ranks = make_ranks(model(0), TRIO, ranks=3, quorum=3)
    averages = together([partial(rank.average, 1, model(value)) for value, rank in enumerate(ranks)])
    assert [report(rank, "outcome") for rank in ranks] == [FRESH] * 3
    assert sum(report(rank, "initiated") for rank in ranks) == 1
    assert all((average == 1).all() for (average,) in averages)
    assert_all_settled(ranks)


def test_a_quorum_larger_than_a_small_group_is_all_of_it():
    ranks = make_ranks(model(0), ([(0, 1, 2)], [(0, 1)]), ranks=3, quorum=3)
    averages = together([partial(rank.average, 2, model(4)) for rank in ranks[:2]])
    assert all((average == 4).all() for (average,) in averages)


def test_patience_gives_others_the_time_to_come():
    ranks = make_ranks(model(0), patience=30.0)
    together([partial(rank.average, 1, model(4)) for rank in ranks])
    assert [report(rank, "outcome") for rank in ranks] == [FRESH] * 2
    assert all(rank.protocol.statistics()["seconds"] < 30 for rank in ranks)


class EnoughWaited(Exception):
    pass


def give_up(waited, rank):
    raise EnoughWaited


def test_an_interrupted_wait_for_the_quorum_is_a_missed_step_that_the_others_can_still_use():
    ranks = make_ranks(model(0), quorum=2)
    ranks[0].window.waiter.watcher = give_up
    leaves = model(4)
    with pytest.raises(EnoughWaited):
        ranks[0].average(1, leaves, leaves)
    assert (leaves[0] == 4).all()
    assert report(ranks[0], "outcome", "initiated") == [MISSED, True]
    assert ranks[0].protocol.last_step == 1
    # The record is open, so nobody who comes later waits.
    (average,) = ranks[1].average(1, model(2))
    assert report(ranks[1], "outcome", "ages") == [LATE, (0, 1)]
    assert (average == (4 + 0 + 2) / 3).all()
    assert_all_settled(ranks)


def test_a_rank_alone_in_its_group_keeps_its_model_and_meets_nobody():
    ranks = make_ranks(model(0), ([(1, 2)],), ranks=3)
    (average,) = ranks[0].average(1, model(4))
    assert (average == 4).all()
    assert report(ranks[0], "outcome", "initiated", "group", "ages") == [FRESH, True, (0,), (0,)]
    assert report(ranks[0], "chunks_computed", "bytes_read") == [0, 0]
