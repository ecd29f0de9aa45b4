"""Step times of the benchmarks are what they say, and the same in every run."""

import json

import numpy as np
import pytest

from benchmarks import elastic, step_times

RANKS, CALLS = 8, 400


def times(kind, jitter=0, **options):
    return step_times.table(kind, RANKS, CALLS, jitter=jitter, **options).T


@pytest.mark.parametrize("kind", step_times.KINDS)
def test_a_step_lasts_as_long_in_every_run_and_differently_with_another_seed(kind):
    found = times(kind, jitter=0.02)
    assert np.array_equal(found, times(kind, jitter=0.02))
    assert not np.array_equal(found, times(kind, jitter=0.02, seed=1))
    assert np.array_equal(found[6], step_times.drawn(kind, RANKS, 7))


def test_balanced_ranks_vary_by_the_jitter():
    assert times("balanced", jitter=0.02).std() == pytest.approx(0.002, rel=0.05)
    assert times("balanced").std() == pytest.approx(0)


def test_one_rank_has_half_the_speed_of_the_others():
    expected = [0.2 if rank == RANKS // 3 else 0.1 for rank in range(RANKS)]
    assert np.array_equal(times("half speed"), np.tile(expected, (CALLS, 1)))


def test_two_ranks_are_late_at_each_step_and_all_in_turn():
    late = times("two late") > 0.2
    assert np.array_equal(late.sum(axis=1), np.full(CALLS, 2))
    assert np.allclose(late.mean(axis=0), 2 / RANKS, atol=0.06)
    assert np.allclose(np.unique(times("two late")), [0.1, 0.42])


def test_log_normal_times_have_their_median_and_sigma_and_no_rank_is_like_another():
    seconds = times("log-normal")
    assert np.median(seconds) == pytest.approx(0.1, rel=0.03)
    assert np.log(seconds).std() == pytest.approx(0.5, rel=0.03)
    assert np.abs(np.corrcoef(seconds.T) - np.eye(RANKS)).max() < 0.2


def test_recorded_times_begin_again_where_a_rank_made_fewer_calls(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps([{"step_times": [[1, 2, 3], [4, 5]]}]))
    assert step_times.recorded(path, 2).tolist() == [[1, 2, 3], [4, 5, 4]]
    with pytest.raises(ValueError, match="has the step times of 2 ranks; run as many, not 3"):
        step_times.recorded(path, 3)
    path.write_text(json.dumps([{"step_times": [[1], []]}]))
    with pytest.raises(ValueError, match="has no step_times"):
        step_times.recorded(path, 2)
    path.write_text(json.dumps([{"step_times": [[1], [2]]}] * 2))
    with pytest.raises(ValueError, match="has 2 runs; write one"):
        step_times.recorded(path, 2)


def test_a_version_without_the_option_is_measured_without_it(monkeypatch):
    class Without:
        def __init__(self, comm, model, *, sync_period=10): ...

    class With:
        def __init__(self, comm, model, *, sync_period=10, sync_quorum=None): ...

    monkeypatch.setattr(elastic, "GroupAverager", Without)
    assert elastic.quorums(8) == [None]
    monkeypatch.setattr(elastic, "GroupAverager", With)
    assert elastic.quorums(8) == [None, 4, 1]
