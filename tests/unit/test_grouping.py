"""What a grouping must offer: a class of a user's own needs no base class."""

import pytest

from tests.support.groupings import Table
from wagma_rma import Grouping
from wagma_rma.groups.butterfly import Butterfly
from wagma_rma.groups.strided import Strided

PAIRS = [(0, 1), (0, 1), (2, 3), (2, 3)]


@pytest.mark.parametrize("grouping", [Butterfly(4, 2), Strided(4, 2), Table(PAIRS)])
def test_what_has_ranks_size_period_and_members_is_a_grouping(grouping):
    assert isinstance(grouping, Grouping)


@pytest.mark.parametrize("name", ["ranks", "size", "period", "members"])
def test_what_lacks_one_of_them_is_none(name):
    class Lacking:
        ranks, size, period = 4, 2, 1

        def members(self, rank, step):
            return PAIRS[rank]

    assert isinstance(Lacking(), Grouping)
    delattr(Lacking, name)
    assert not isinstance(Lacking(), Grouping)


def test_the_example_of_its_documentation_is_right():
    grouping = Butterfly(ranks=8, size=2)
    groups = [tuple(grouping.members(0, step)) for step in range(1, 5)]
    assert str(groups) in Grouping.members.__doc__
