"""The averages that a step gives are those of the formulas, to the bit, in every dtype."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import models
from tests.support.worlds import make_ranks

TRIO = ([(0, 1, 2)],)


def random_leaves(seed, counts=(40, 33, 0, 7), dtypes=models.DTYPES):
    """Return a leaf of each dtype."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(count).astype(dtype) for count, dtype in zip(counts, dtypes, strict=True)]


def late_average(contributions, own):
    """Return numpy's (W + own) / (|G| + 1)."""
    return models.group_mean([*contributions, own])


@settings(max_examples=25, deadline=None)
@given(
    st.permutations(models.DTYPES),
    st.lists(st.sampled_from([0, 1, 31, 32, 33, 100]), min_size=4, max_size=4),
    st.sampled_from([128, 256, 1 << 20]),
    st.integers(0, 1 << 32),
)
def test_fresh_and_late_ranks_get_what_their_formulas_say(dtypes, counts, chunk_bytes, seed):
    start, first, second = (random_leaves([seed, i], counts, dtypes) for i in range(3))
    ranks = make_ranks(start, TRIO, ranks=3, chunk_bytes=chunk_bytes)
    # Rank 1 comes first and stands alone: the others contribute what they published before.
    fresh = ranks[1].average(1, first)
    assert models.same_bits(fresh, models.group_mean([start, first, start]))
    late = ranks[2].average(1, second)
    assert models.same_bits(late, late_average([start, first, start], second))


# In another order the small number would be lost, or kept.
@pytest.mark.parametrize(
    ("of_ranks", "total"), [((1, 1e8, -1e8), 0), ((1e8, -1e8, 1), 1), ((1e8, 1, -1e8), 0)]
)
def test_contributions_are_added_in_the_order_of_the_members(of_ranks, total):
    ranks = make_ranks([np.zeros(1, np.float32)], TRIO, ranks=3)
    mine, *others = (np.full(1, value, np.float32) for value in of_ranks)
    for rank, leaf in zip(ranks[1:], others, strict=True):
        rank.average(1, [leaf])
    (average,) = ranks[0].average(2, [mine])
    assert average[0] == np.float32(total) / np.float32(3)


def test_sums_of_16_bit_floats_do_not_overflow():
    most = np.full(5, 60_000, np.float16)
    ranks = make_ranks([most])
    (average,) = ranks[0].average(1, [most])
    assert (average == most).all()


@pytest.mark.parametrize("in_place", [False, True])
def test_the_output_may_be_the_model(in_place):
    start, model = random_leaves(1), random_leaves(2)
    expected = models.group_mean([start, model])
    ranks = make_ranks(start, chunk_bytes=128)
    assert models.same_bits(ranks[0].average(1, model, model if in_place else None), expected)


def test_bytes_of_other_ranks_are_counted_once():
    count = 1000
    ranks = make_ranks([np.zeros(count, np.float16)], TRIO, ranks=3, chunk_bytes=500)
    ranks[0].average(1, [np.ones(count, np.float16)])
    # Who sums reads the snapshots of the two others; who collects, the sums, which are float32.
    assert ranks[0].protocol.report()["bytes_read"] == 2 * 2 * count
    ranks[1].average(1, [np.ones(count, np.float16)])
    assert ranks[1].protocol.report()["bytes_read"] == 4 * count
    assert ranks[1].protocol.report()["bytes_over_network"] == 0
