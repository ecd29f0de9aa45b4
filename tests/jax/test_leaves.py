"""A pytree taken apart and put together again, without any ranks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_bindings import leaves
from jax_bindings.leaves import find_synchronized, find_unselected, flatten, floating

ALL = frozenset()


def params():
    return {"w": jnp.arange(3.0), "step": jnp.zeros((), int), "half": [jnp.ones(2, jnp.bfloat16)]}


def test_the_model_has_the_selected_leaves_by_path_in_the_order_of_jax():
    flat = flatten("average", params(), frozenset({"['step']"}))
    assert flat.paths == ["['half'][0]", "['step']", "['w']"]
    assert list(flat.model) == ["['half'][0]", "['w']"]
    assert [array.dtype.name for array in flat.model.values()] == ["bfloat16", "float32"]
    assert [leaf.shape for leaf in flat.selected] == [(2,), (3,)]


def test_averages_take_the_places_of_the_selected_leaves_alone():
    given = params()
    flat = flatten("average", given, frozenset({"['step']"}))
    averages = flat.model.__class__((path, array + 1) for path, array in flat.model.items())
    placed = flat.placed(averages)
    assert jax.tree.structure(placed) == jax.tree.structure(given)
    assert placed["step"] is given["step"]
    assert placed["w"].tolist() == [1.0, 2.0, 3.0]
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(placed))
    assert flat.rebuilt(["half", "w"]) == {"w": "w", "step": given["step"], "half": ["half"]}


@pytest.mark.parametrize(
    ("select", "unselected"),
    [
        (None, []),
        (floating, ["['step']"]),
        (lambda path, leaf: path[0].key == "half", ["['step']", "['w']"]),
        ({"w": True, "step": False, "half": [np.True_]}, ["['step']"]),
        ({"w": True, "step": True, "half": False}, ["['half'][0]"]),
    ],
    ids=["all", "floating", "function", "tree", "subtree"],
)
def test_select_is_a_function_or_a_tree_of_bools(select, unselected):
    assert sorted(find_unselected(params(), select)) == unselected


def test_select_synchronized_is_a_choice_of_the_same_kind():
    assert find_synchronized(params(), None) == frozenset()
    select = {"w": False, "step": True, "half": True}
    assert sorted(find_synchronized(params(), select)) == ["['half'][0]", "['step']"]
    with pytest.raises(
        TypeError, match=r"PytreeAverager: select_synchronized\['w'\] is a str; it holds True"
    ):
        find_synchronized(params(), {**select, "w": "never"})


def test_a_select_of_other_things_than_bools_says_where():
    with pytest.raises(
        TypeError, match=r"PytreeAverager: select\['step'\] is a int; it holds True for a leaf"
    ):
        find_unselected(params(), {"w": True, "step": 1, "half": True})


class Twins:
    def __init__(self, *leaves):
        self.leaves = leaves


TWIN = jax.tree_util.GetAttrKey("twin")
jax.tree_util.register_pytree_with_keys(
    Twins, lambda node: ([(TWIN, leaf) for leaf in node.leaves], None), lambda _, leaves: Twins(*leaves)
)


def test_leaves_of_one_path_are_refused():
    with pytest.raises(ValueError, match="average: two leaves have the same path; give the nodes distinct"):
        flatten("average", Twins(jnp.zeros(1), jnp.zeros(1)), ALL)


def test_a_traced_leaf_has_a_shape_and_a_dtype_on_the_host():
    seen = []

    def function(x):
        flat = flatten("average", x, ALL)
        seen.append((flat.traced, flat.model[""].shape, flat.model[""].dtype.name))
        return x

    jax.make_jaxpr(function)(jnp.zeros((2, 3), jnp.float16))
    assert seen == [(True, (2, 3), "float16")]
    assert not flatten("average", params(), ALL).traced


def test_on_the_host_a_leaf_is_what_jax_would_make_of_it():
    assert leaves.on_host(np.zeros(2)).dtype == jnp.zeros(2).dtype
    key = jax.random.key(0)
    assert leaves.on_host(key) is key
    assert leaves.on_host(1.5) == 1.5
    array = jnp.arange(3.0)
    assert leaves.on_host(array).ctypes.data == array.unsafe_buffer_pointer()


@pytest.mark.parametrize("shape", [(), (0, 4), (5,), (100, 1000)])
def test_jax_uses_new_memory_without_a_copy(shape):
    array = leaves.empty(shape, np.float32)
    assert (array.shape, array.dtype, array.flags.c_contiguous) == (shape, np.float32, True)
    array[...] = 1
    if array.size > 1:
        assert jax.device_put(array).unsafe_buffer_pointer() == array.ctypes.data


def test_a_copy_of_the_model_can_be_written_to_and_keeps_what_cannot_be_averaged():
    given = {"w": jnp.arange(3.0), "number": 1.5}
    copied = leaves.copied(flatten("average", given, ALL))
    copied["['w']"] += 1
    assert given["w"].tolist() == [0.0, 1.0, 2.0]
    assert copied["['number']"] == 1.5
