"""Each method does what its paper defines, on models whose gradients are known."""

import numpy as np
import pytest

from tests.learning.quadratic import PERIOD, RECURRENCES, STEPS, averaged, recurrence
from tests.support import pool

pytestmark = pytest.mark.slow

OPTIONS = {
    "local": {"period": PERIOD},
    "diloco": {"period": PERIOD},
    "wagma": {"sync_period": PERIOD, "patience": 10},
    "eager-majority": {"performer_last": True},
}


def run(ranks, function, **arguments):
    return pool.run(ranks, f"learning.methods:{function}", limit=120, **arguments)


@pytest.mark.parametrize("ranks", [2, 5])
@pytest.mark.parametrize("name", RECURRENCES)
def test_ranks_that_come_together_train_as_the_recurrence_says(ranks, name):
    found = np.array(run(ranks, "trained", name=name, steps=STEPS, **OPTIONS.get(name, {})))
    np.testing.assert_allclose(found.swapaxes(0, 1), recurrence(name, ranks), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["d-psgd", "sgp", "ad-psgd", "local"])
@pytest.mark.parametrize("ranks", [2, 5])
def test_models_without_gradients_become_their_mean(ranks, name):
    before, after = (
        np.array(models) for models in zip(*run(ranks, "mixed", name=name, steps=60), strict=True)
    )
    np.testing.assert_allclose(after, averaged(before), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["d-psgd", "sgp", "ad-psgd"])
def test_a_few_steps_without_gradients_keep_the_mean_but_reach_no_consensus(name):
    before, after = (np.array(models) for models in zip(*run(5, "mixed", name=name, steps=1), strict=True))
    np.testing.assert_allclose(after.mean(0), before.mean(0), rtol=1e-4, atol=1e-5)
    assert np.ptp(after, axis=0).max() > 0.01


def test_push_sum_finds_the_mean_of_models_with_unequal_weights():
    weights = [1.0, 2.0, 0.5, 4.0, 1.0]
    before, after = (
        np.array(models)
        for models in zip(*run(5, "mixed", name="sgp", steps=60, weights=weights), strict=True)
    )
    expected = np.average(before, axis=0, weights=weights)
    np.testing.assert_allclose(after, np.repeat(expected[None], 5, 0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["eager-solo", "eager-majority"])
def test_every_gradient_is_in_one_sum_even_those_of_a_slow_rank(name):
    ranks, rounds = 3, 12
    told = run(ranks, "summed", name=name, rounds=rounds, seconds=[0.01, 0.01, 0.05])
    computed, left, gone, done = (np.array(column) for column in zip(*told, strict=True))
    assert (done >= rounds).all()
    assert gone == pytest.approx(np.full(ranks, (computed.sum() - left.sum()) / ranks), rel=1e-4)
    # Its late gradients are there too, and it computes fewer than there are rounds.
    assert 1 < computed[2] < done[2] if name == "eager-solo" else computed[2] > 1


def test_the_first_rank_performs_a_round_alone_and_the_majority_waits_for_the_one_that_is_drawn():
    slow = [0.005, 0.2]
    solo = run(2, "summed", name="eager-solo", rounds=10, seconds=slow)
    assert solo[1][0] <= 3
    majority = run(2, "summed", name="eager-majority", rounds=10, seconds=slow)
    assert majority[1][0] >= 4
