"""The choice of a grouping where the user names none: a butterfly near the square root, if there is one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.groupings import placements
from wagma_rma.groups.butterfly import Butterfly
from wagma_rma.groups.choice import choose
from wagma_rma.groups.strided import Strided


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (1, Butterfly(1, 1)),
        (2, Butterfly(2, 2)),
        (3, Butterfly(3, 3)),
        (4, Butterfly(4, 2)),
        (5, Strided(5, 2)),
        (6, Butterfly(6, 3)),
        (7, Strided(7, 3)),
        (8, Butterfly(8, 2)),
        (9, Butterfly(9, 3)),
        (10, Butterfly(10, 5)),
        (11, Strided(11, 3)),
        (12, Butterfly(12, 3)),
        (13, Strided(13, 4)),
        (14, Butterfly(14, 7)),
        (15, Butterfly(15, 5)),
        (16, Butterfly(16, 4)),
        (17, Strided(17, 4)),
        (18, Butterfly(18, 3)),
        (19, Strided(19, 4)),
        (20, Butterfly(20, 5)),
        (21, Butterfly(21, 7)),
        (22, Strided(22, 5)),
        (23, Strided(23, 5)),
        (24, Butterfly(24, 4)),
        (64, Butterfly(64, 8)),
        (2**20, Butterfly(2**20, 2**10)),
        (1_000_003, Strided(1_000_003, 1000)),
    ],
)
def test_without_a_size_groups_have_about_the_square_root(ranks, expected):
    assert choose(ranks) == expected


def test_the_size_chosen_is_the_nearest_to_the_root_among_the_butterflies():
    for ranks in range(2, 200):
        root = math.sqrt(ranks)
        sizes = []
        for size in range(2, ranks + 1):
            near = root / 2 <= size <= root * 2
            if near and isinstance(choose(ranks, size), Butterfly):
                sizes.append(size)
        g = choose(ranks)
        if sizes:
            assert g == Butterfly(ranks, min(sizes, key=lambda s: (abs(s - root), s)))
        else:
            assert g == Strided(ranks, max(2, round(root)))


@pytest.mark.parametrize(
    ("ranks", "size", "expected"),
    [
        (8, 4, Butterfly(8, 4)),
        (12, 6, Butterfly(12, 6)),
        (7, 7, Butterfly(7, 7)),
        (1, 1, Butterfly(1, 1)),
        (8, 3, Strided(8, 3)),
        (7, 2, Strided(7, 2)),
        (8, 1, Strided(8, 1)),
        (np.int32(8), np.uint8(4), Butterfly(8, 4)),
    ],
)
def test_a_size_that_is_given_is_kept(ranks, size, expected):
    assert choose(ranks, size) == expected


def test_without_a_size_the_ranks_are_checked_as_well():
    with pytest.raises(ValueError, match=r"^ranks=0 is smaller than 1; "):
        choose(0)
    with pytest.raises(TypeError, match=r"^ranks=2\.5 is not an integer; "):
        choose(2.5)


@settings(deadline=None)
@given(st.data())
def test_hosts_have_no_say_in_the_kind_and_size_chosen(data):
    ranks = data.draw(st.integers(1, 200))
    hosts = data.draw(placements(ranks))
    size = data.draw(st.none() | st.integers(1, ranks))
    g, plain = choose(ranks, size, hosts), choose(ranks, size)
    assert (type(g), g.size, g.period) == (type(plain), plain.size, plain.period)
    assert g.hosts == tuple(hosts)
