"""Wrong arguments of groupings are refused with the value, its limits and the cure."""

import re

import pytest

from wagma_rma.groups.butterfly import Butterfly
from wagma_rma.groups.choice import choose
from wagma_rma.groups.strided import Strided


@pytest.mark.parametrize("make", [choose, Butterfly, Strided])
@pytest.mark.parametrize(
    ("ranks", "size", "message"),
    [
        (
            4,
            6,
            "group_size=6 is larger than the communicator (4 ranks); pass group_size between 1 and 4",
        ),
        (4, 0, "group_size=0 is smaller than 1; pass group_size between 1 and 4"),
        (4, -2, "group_size=-2 is smaller than 1; pass group_size between 1 and 4"),
        (0, 1, "ranks=0 is smaller than 1; pass the size of a communicator"),
    ],
)
def test_a_size_out_of_range_is_refused_with_the_range(make, ranks, size, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(ranks, size)


@pytest.mark.parametrize("make", [choose, Butterfly, Strided])
@pytest.mark.parametrize(
    ("ranks", "size", "message"),
    [
        (4, 2.0, "group_size=2.0 is not an integer; pass an int"),
        (4, True, "group_size=True is not an integer; pass an int"),
        (4, "2", "group_size='2' is not an integer; pass an int"),
        (4.0, 2, "ranks=4.0 is not an integer; pass an int"),
        (True, 1, "ranks=True is not an integer; pass an int"),
    ],
)
def test_numbers_that_are_no_integers_are_refused(make, ranks, size, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        make(ranks, size)


@pytest.mark.parametrize("kind", [Butterfly, Strided])
@pytest.mark.parametrize(
    ("rank", "step", "message"),
    [
        (8, 1, "rank=8 is outside the communicator; pass rank between 0 and 7"),
        (-1, 1, "rank=-1 is outside the communicator; pass rank between 0 and 7"),
        (0, 0, "step=0 is before the first; pass step of at least 1"),
    ],
)
def test_members_refuses_ranks_and_steps_that_do_not_exist(kind, rank, step, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kind(8, 4).members(rank, step)


@pytest.mark.parametrize("make", [choose, Butterfly, Strided])
@pytest.mark.parametrize(
    ("hosts", "error", "message"),
    [
        ([0, 0, 1], ValueError, "hosts has 3 numbers, one for each rank would be 4"),
        (range(5), ValueError, "hosts has 5 numbers, one for each rank would be 4"),
        ((), ValueError, "hosts has 0 numbers, one for each rank would be 4"),
        (4, TypeError, "hosts=4 is not a sequence"),
        ({0, 1}, TypeError, "hosts={0, 1} is not a sequence"),
    ],
)
def test_hosts_that_are_not_one_number_for_each_rank_are_refused(make, hosts, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}; pass the number of each rank's host$"):
        make(4, 2, hosts)


@pytest.mark.parametrize("make", [choose, Butterfly, Strided])
@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ([0, 0, 1.0, 1], "hosts[2]=1.0 is not an integer; pass an int"),
        ([0, True, 1, 1], "hosts[1]=True is not an integer; pass an int"),
        (["a", "a", "b", "b"], "hosts[0]='a' is not an integer; pass an int"),
        ("0011", "hosts[0]='0' is not an integer; pass an int"),
    ],
)
def test_host_numbers_that_are_no_integers_are_refused(make, hosts, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        make(4, 2, hosts)
