"""The slowness of benchmarks/elastic.py is what imbalance.py says, and the same for every sync_quorum."""

import numpy as np
import pytest

from benchmarks import elastic

RANKS, CALLS = 8, range(1, 401)


def times(kind):
    return np.array([[elastic.KINDS[kind](RANKS, rank, call) for rank in range(RANKS)] for call in CALLS])


@pytest.mark.parametrize("kind", elastic.KINDS)
def test_a_step_lasts_as_long_in_every_run(kind):
    assert np.array_equal(times(kind), times(kind))


def test_one_rank_has_half_the_speed_of_the_others():
    assert np.array_equal(times("half speed"), np.tile([0.1, 0.2, *[0.1] * 6], (len(CALLS), 1)))


def test_two_ranks_are_late_at_each_step_and_all_in_turn():
    late = times("two late") > 0.2
    assert np.array_equal(late.sum(axis=1), np.full(len(CALLS), 2))
    assert np.allclose(late.mean(axis=0), 2 / RANKS, atol=0.06)
    assert np.allclose(np.unique(times("two late")), [0.1, 0.42])


def test_log_normal_times_have_their_median_and_sigma_and_no_rank_is_like_another():
    seconds = times("log-normal")
    assert np.median(seconds) == pytest.approx(0.1, rel=0.03)
    assert np.log(seconds).std() == pytest.approx(0.5, rel=0.03)
    assert np.abs(np.corrcoef(seconds.T) - np.eye(RANKS)).max() < 0.2


def test_a_version_without_the_option_is_measured_without_it(monkeypatch):
    class Without:
        def __init__(self, comm, model, *, sync_period=10): ...

    class With:
        def __init__(self, comm, model, *, sync_period=10, sync_quorum=None): ...

    monkeypatch.setattr(elastic, "GroupAverager", Without)
    assert elastic.quorums(8) == [None]
    monkeypatch.setattr(elastic, "GroupAverager", With)
    assert elastic.quorums(8) == [None, 4, 1]
