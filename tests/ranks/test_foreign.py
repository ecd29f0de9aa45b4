"""Users hand over what their frameworks have, in containers of every kind, and get averages in the same."""

import importlib.util

import pytest

from tests.support import pool

RANKS = 2


def needs(*modules):
    missing = [name for name in modules if not importlib.util.find_spec(name)]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)}: not installed")


def network(value, *, parameter="Parameter"):
    """Return the description of a model all of whose numbers are the same."""
    layer = ["Layer", [parameter, "torch.float32", [value] * 2], ["Tensor", "torch.bfloat16", [value]]]
    image = ["Tensor", "torch.float32", [[[[value] * 2], [[value] * 2]]]]
    mapping = ["mappingproxy", {"z": ["ndarray", "float64", [value] * 2], "image": image}]
    return ["Network", ["list", layer, mapping], ["tuple", ["Tensor", "torch.float64", value]]]


@needs("torch")
def test_tensors_and_arrays_in_every_container_are_averaged():
    for rank, told in enumerate(pool.run(RANKS, "ranks.foreign:every_kind")):
        assert told["model"] == told["left alone"] == network(rank)
        # New tensors are plain ones, out of reach of autograd and the optimizer.
        assert told["group step"] == told["synchronisation"] == network(0.5, parameter="Tensor")
        assert told["group step in place"] == told["synchronisation in place"] == network(0.5)
        assert told["start of rank 0"] == network(3.0)


@needs("torch")
def test_tensors_that_are_looked_up_at_each_step_may_have_moved():
    for told in pool.run(RANKS, "ranks.foreign:moved"):
        assert set(told) >= {"0.weight", "1.weight", "1.running_mean", "1.running_var"}
        assert all(values == [0.5] for values in told.values()), told


@needs("jax")
def test_jax_arrays_are_read_and_never_written():
    for average, told in pool.run(RANKS, "ranks.foreign:of_jax"):
        assert average == [
            "dict",
            {"w": ["ndarray", "float32", [0.5] * 3], "h": ["ndarray", "bfloat16", [0.5] * 2]},
        ]
        assert told[0].startswith("average: out['h'] is read-only")
        assert told[1].startswith("GroupAverager: model['h'] is read-only, and broadcast=True")
        assert all("jax_bindings.PytreeAverager" in text for text in told)


def test_an_averager_is_neither_copied_nor_pickled():
    for told in pool.run(RANKS, "ranks.foreign:copies"):
        assert len(told) == 4
        for text in told:
            assert text.startswith("GroupAverager: an averager can't be copied or pickled")
            assert "averager.state_dict()" in text
