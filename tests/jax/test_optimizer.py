"""Averaging as part of an optax optimizer, and the choice of leaves."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_bindings.optimizer import difference
from tests.support import pool


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_updates_land_on_the_average(ranks):
    for rank, wrong in enumerate(pool.run(ranks, "jax.optimizer:lands", limit=120)):
        assert wrong == [], f"rank {rank}"


def test_updates_are_arrays_like_any_others():
    like = {"w": ["float32", [3]], "half": ["float32", [2]], "step": ["int32", []]}
    norm = round((3 * 0.1**2 + 2 * 0.125**2) ** 0.5, 4)  # a bfloat16 of the size 10 moves by 0.125
    for facts in pool.run(2, "jax.optimizer:like_arrays", limit=60):
        assert facts == {
            "eager": like,
            "eager: norm": norm,
            "jit": like,
            "jit: norm": norm,
            "clipped": [-0.1, -0.125],
            "alone": True,
        }


@pytest.mark.parametrize(
    ("dtype", "most"), [(jnp.float32, 5e-3), (jnp.bfloat16, 1e-5), (jnp.float16, 1e-5)], ids=lambda x: str(x)
)
def test_an_update_gives_the_average_to_the_bit_nearly_everywhere(dtype, most):
    """Params of the size 1 that ranks change by 1 %; wagma's docstring says the share of others."""
    random = np.random.default_rng(0)
    common = random.normal(size=1_000_000)
    params, average = (
        jnp.asarray(common + share * random.normal(size=common.size), dtype) for share in (0.01, 0.005)
    )
    new = optax.apply_updates(params, difference(params, average))
    assert new.dtype == dtype
    assert float(jnp.mean(new != average)) <= most
    near = (average / params >= 0.5) & (average / params <= 2)
    assert bool(jnp.all((new == average) | ~near))


def test_between_group_steps_the_update_is_the_inner_optimizers():
    assert pool.run(2, "jax.optimizer:seldom", limit=60) == [[], []]


def test_the_state_may_be_averaged_at_synchronisations_only():
    for wrong, refused in pool.run(2, "jax.optimizer:moments_synchronized", limit=90):
        assert wrong == []
        needs = (
            "ValueError: wagma: moments='synchronize' needs an averager of params in groups and of the state"
        )
        found = ("model[1][0].mu['half']['b'] is averaged in groups", "model[0]['half']['b'] is not")
        for text, one in zip(refused[::2], (found[0], found[1], found[0]), strict=True):
            assert text.startswith(needs)
            assert f" only, and {one}; make it by" in text
        unknown = "ValueError: wagma: moments='always' is unknown; pass False, True or 'synchronize'"
        assert refused[1::2] == [unknown] * 3


def test_what_wraps_wagma_and_what_it_refuses():
    for facts in pool.run(2, "jax.optimizer:outside", limit=60):
        assert facts.pop("no params").startswith("ValueError: wagma: update() averages parameters")
        assert facts.pop("swapped").startswith("TypeError: wagma: inner is a PytreeAverager; pass an optax")
        assert facts.pop("no averager").startswith("TypeError: wagma: averager is a dict; pass a Pytree")
        assert facts == {
            "masked": [False, 1],
            "left alone": True,
            "steps": [2, 3, 3, 4, 4, 5, 5, 6],
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
