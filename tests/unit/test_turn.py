"""A rank's groups recur after a full turn."""

import numpy as np
import pytest

from tests.support.worlds import alone, make_ranks
from wagma_rma.protocol.protocol import Protocol

TURN = ([(0, 2)], [(0, 1, 2)], [(1, 2)])


def test_step_1_has_the_first_group_and_the_turn_begins_anew():
    *_, rank = make_ranks([np.zeros(2)], TURN, ranks=3)
    groups = []
    for step in range(1, 8):
        rank.average(step, [np.zeros(2)])
        groups.append(rank.protocol.report()["group"])
    assert groups == [(0, 2), (0, 1, 2), (1, 2), (0, 2), (0, 1, 2), (1, 2), (0, 2)]


def test_with_a_group_period_the_turn_goes_on_with_each_group_step():
    *_, rank = make_ranks([np.zeros(2)], TURN, ranks=3, group_period=3)
    groups = []
    for step in range(1, 16):
        rank.average(step, [np.zeros(2)])
        groups.append(rank.protocol.report()["group"])
    assert groups[2::3] == [(0, 2), (0, 1, 2), (1, 2), (0, 2), (0, 1, 2)]
    assert {group for i, group in enumerate(groups) if i % 3 != 2} == {(2,)}


def test_a_run_that_goes_on_has_the_groups_of_its_steps():
    rank = make_ranks([np.zeros(2)], TURN, ranks=3, step=4)[2]
    rank.average(5, [np.zeros(2)])
    assert rank.protocol.report()["group"] == (0, 1, 2)


def test_groups_without_the_rank_are_refused():
    rank = alone([np.zeros(2)])
    with pytest.raises(ValueError):
        Protocol(rank.window, rank.layout, [(1,)], 1, 0.0)
