"""What a timeout or Ctrl-C cuts short is completed, or left so that nobody is hurt."""

import pytest

from tests.support import launch, pool


def test_a_synchronisation_cut_short_must_be_completed_before_a_group_step():
    ran = pool.run(2, "ranks.cut_short:then_average")
    told, step, mean = ran[0]
    assert "average: rank 0 was cut short while it synchronised step 1; call synchronize()" in told
    assert (step, mean) == (1, [1.5] * 4)
    assert ran[1] == ["", 1, [1.5] * 4]


@pytest.mark.parametrize("wait", ["arrivals", "sums", "end"])
def test_who_closes_in_the_middle_of_a_synchronisation_does_its_part_first(wait):
    assert pool.run(3, "ranks.cut_short:then_close", wait=wait, floats=1_000_000) == [
        None,
        [1.0, 1.0],
        [1.0, 1.0],
    ]


def test_closing_at_a_meeting_of_join_waits_for_no_rank_that_has_left():
    assert launch.run(2, "ranks.cut_short:close_at_a_meeting", limit=60) == ["", ""]


def test_who_has_done_a_step_may_close_while_others_are_still_about_to_leave_it():
    at_1, at_2 = pool.run(2, "ranks.cut_short:closed_after_its_part")[1]
    assert at_1 == ""
    assert "rank 0 has closed its averager while rank 1 waits for its group at step 2" in at_2


def test_ctrl_c_gets_through_to_a_rank_that_waits_for_the_agreement_of_others():
    assert pool.run(2, "ranks.cut_short:agreement", limit=60) == [True, False]
