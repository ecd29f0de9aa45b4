"""The clocks of hosts are aligned within the error that is stated, whatever they show."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wagma_rma.seeing.clocks import SAME, Alignment, align, aligned_hosts


def run(random, synchronisations, offset, drift, spread, latency):
    """Return (came, left) of two hosts, on their own clocks, and when the second has left in truth."""
    last = np.cumsum(random.uniform(0.5, 2.0, synchronisations))
    came = last[:, None] - random.exponential(spread, (synchronisations, 2))
    came[np.arange(synchronisations), random.integers(2, size=synchronisations)] = last
    left = last[:, None] + latency * random.uniform(1, 3, (synchronisations, 2))
    shown = lambda times: times + offset + drift * times  # noqa: E731
    return came[:, 0], left[:, 0], shown(came[:, 1]), shown(left[:, 1]), left[:, 1]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    synchronisations=st.integers(1, 200),
    offset=st.floats(-1e6, 1e6),
    spread=st.floats(1e-4, 0.5),
    latency=st.floats(1e-5, 1e-2),
)
def test_times_are_right_within_the_error(seed, synchronisations, offset, spread, latency):
    random = np.random.default_rng(seed)
    *told, true = run(random, synchronisations, offset, 0.0, spread, latency)
    aligned = align(*told)
    found = aligned.on_first(told[3])
    assert np.abs(found - true).max() <= aligned.error + 1e-6
    if synchronisations > 50:
        # Either host comes last now and then, so the bounds are near the latency, and what clocks may drift.
        assert aligned.error <= 4 * latency + 3e-3


def test_clocks_that_drift_stay_aligned():
    random = np.random.default_rng(0)
    *told, true = run(random, 2000, 1e5, 20e-6, 0.01, 1e-4)
    aligned = align(*told)
    assert np.abs(aligned.on_first(told[3]) - true).max() < aligned.error + 1e-6  # a drift of 60 ms in all
    assert aligned.error < 2e-3


def test_synchronisations_that_one_rank_lacks_do_not_count():
    def row(*steps):
        return [[step, 10.0 * step, 10.0 * step + 1] for step in steps] + [[-1.0, -1.0, -1.0]] * (
            4 - len(steps)
        )

    first, second = aligned_hosts((0, 1), np.array([row(1, 2, 3), row(2, 3, 4)]))
    assert second.at.tolist() == [21.0, 31.0] and second.ahead.tolist() == pytest.approx([0.0, 0.0])
    assert aligned_hosts((0, 1), np.array([row(1, 2), row(3, 4)])) == []
    again = Alignment.of_lists(*second.as_lists())
    assert again.at.tolist() == second.at.tolist() and again.error == second.error and first == SAME


def test_the_last_of_a_host_to_come_and_its_first_to_leave_count():
    came = np.array([[1.0], [1.5], [11.2], [11.0]])
    left = np.array([[1.7], [1.6], [11.6], [11.7]])
    steps = np.array([[7.0]] * 4)
    first, second = aligned_hosts((0, 0, 1, 1), np.stack([steps, came, left], axis=2))
    assert first == SAME
    # Host 0: 1.5, 1.6; host 1: 11.2, 11.6. So -10.1 <= d <= -9.6.
    assert second.ahead.tolist() == [-9.85] and second.error == pytest.approx(0.25)
