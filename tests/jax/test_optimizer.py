"""Averaging as part of an optax optimizer, and the choice of leaves."""

import pytest

from tests.support import pool


@pytest.mark.parametrize("ranks", [2, 3])
def test_updates_land_on_the_average_to_the_bit(ranks):
    for rank, wrong in enumerate(pool.run(ranks, "jax.optimizer:lands", limit=120)):
        assert wrong == [], f"rank {rank}"


def test_what_wraps_wagma_and_what_it_refuses():
    for facts in pool.run(2, "jax.optimizer:outside", limit=60):
        assert facts.pop("no params").startswith("ValueError: wagma: update() averages parameters")
        assert facts == {
            "masked": [1, 1],
            "left alone": True,
            "steps": [1, 2, 2, 3, 3, 4, 4, 5],
            "every": "ValueError: wagma: every=0 is not a positive integer",
        }


def test_moments_are_averaged_too_if_asked():
    assert pool.run(2, "jax.optimizer:moments", limit=90) == [[], []]


def test_leaves_that_are_not_selected_stay_as_they_are():
    for rank, facts in enumerate(pool.run(2, "jax.optimizer:selected", limit=60)):
        step, first, second = 7 + rank, float(rank), 10.0 * rank
        averaged = {
            "function": [0.5, step, first, second],
            "tree": [0.5, step, 0.5, second],
            "subtree": [0.5, step, first, second],
        }
        for name, values in averaged.items():
            assert facts.pop(name) == [values, values, True], name
        assert facts.pop("another leaf").startswith("ValueError: average: model['new'] is not in the model")
        assert facts.pop("one less") == 0.5
        assert facts.pop("nothing").startswith("ValueError: PytreeAverager: no leaf of params")
        assert facts.pop("number").startswith(
            "TypeError: PytreeAverager: select['step'] is a int; it holds True"
        )
        assert facts.pop("integer").startswith("TypeError: PytreeAverager: model['step'] has dtype int32")
        assert "model['moments'][0]" in facts.pop("ranks differ")
        assert facts == {}
