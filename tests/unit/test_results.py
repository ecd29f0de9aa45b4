"""A result is kept for three steps of its owner: who reads it later has MISSED the step."""

import numpy as np
import pytest

from tests.support.worlds import make_ranks

# Ranks 0 and 1 meet at step 1 only; then rank 0 averages with rank 2.
TURN = ([(0, 1)], [(0, 2)], [(0, 2)], [(0, 2)])


def model(value):
    return [np.full(100, value, np.float32)]


def after(last_step):
    """Return the ranks of a world in which rank 0 has come to a step, and rank 1 nowhere."""
    ranks = make_ranks(model(0), TURN, ranks=3)
    for step in range(1, last_step + 1):
        ranks[0].average(step, model(step))
    return ranks


@pytest.mark.parametrize("last_step", [1, 2, 3])
def test_sums_are_kept_while_their_owner_does_two_more_steps(last_step):
    late = after(last_step)[1]
    (average,) = late.average(1, model(8))
    assert late.protocol.report()["outcome"] == 1  # LATE
    assert (average == 3).all()  # (0 + 1 + 8) / 3


def test_a_rank_that_comes_when_the_sums_are_replaced_keeps_its_own_model():
    late = after(4)[1]
    (average,) = late.average(1, model(8))
    report = late.protocol.report()
    assert report["outcome"] == 2  # MISSED
    assert report["source_step"] == report["step"] == 1
    assert (average == 8).all()


def test_a_missed_step_in_place_leaves_the_model_as_it_came():
    late = after(4)[1]
    leaves = model(8)
    late.average(1, leaves, leaves)
    assert (leaves[0] == 8).all()
    assert late.protocol.statistics()["missed"] == 1
