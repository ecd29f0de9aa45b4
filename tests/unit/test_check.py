"""A user's own grouping is served if it partitions the ranks at each step, or refused with the place."""

import re

import numpy as np
import pytest

from tests.support.groupings import Table, check

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
            "members(rank=2, step=1) = (2, 4) has ranks outside the communicator (4 ranks); "
            "return ranks from 0 to 3",
        ),
        (
            Table([(-1, 0), A, B, B]),
            "members(rank=0, step=1) = (-1, 0) has ranks outside the communicator (4 ranks); "
            "return ranks from 0 to 3",
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
