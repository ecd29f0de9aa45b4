"""What a model's structure is: paths, order of leaves, what may vary, and containers rebuilt as they were."""

import collections
import collections.abc
import dataclasses
import types

import ml_dtypes
import numpy as np
import pytest

from wagma_rma.kernels.dtypes import DTYPES
from wagma_rma.model.structure import Leaves, Structure

Layer = collections.namedtuple("Layer", ["weights", "bias"])
Point = dataclasses.make_dataclass("Point", ["x", "y"])
Frozen = dataclasses.make_dataclass("Frozen", ["x", "y"], frozen=True, slots=True)


class OwnList(list):
    """A list of a user's own."""


class OwnMapping(collections.abc.Mapping):
    """A mapping that can be made from a dict."""

    def __init__(self, items):
        self.items_ = items

    def __getitem__(self, key):
        return self.items_[key]

    def __iter__(self):
        return iter(self.items_)

    def __len__(self):
        return len(self.items_)


class OwnMutableMapping(OwnMapping, collections.abc.MutableMapping):
    """One whose copies share their memory."""

    def __setitem__(self, key, value):
        self.items_[key] = value

    def __delitem__(self, key):
        del self.items_[key]


class NotFromDict(OwnMapping):
    """A mapping that can't be made from a dict."""

    def __init__(self, **items):
        super().__init__(items)


class TwoDefaults(collections.namedtuple("TwoDefaults", ["a", "b"])):
    """A namedtuple whose constructor takes something else than one sequence."""

    def __new__(cls, a, b=None):
        return super().__new__(cls, a, b)


def f32(*shape, value=0.0):
    return np.full(shape, value, np.float32)


def paths(model):
    return Structure("test", model).paths


# Paths and order.


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (f32(2), ["model"]),
        ([f32(2), f32(3)], ["model[0]", "model[1]"]),
        ({"b": f32(2), "a": (f32(1), [f32(1)])}, ["model['a'][0]", "model['a'][1][0]", "model['b']"]),
        (Layer(f32(2), f32(2)), ["model[0]", "model[1]"]),
        ({10: f32(1), 9: f32(1)}, ["model[9]", "model[10]"]),
        ({(1, "a"): f32(1)}, ["model[(1, 'a')]"]),
        ({"a": [], "b": f32(2)}, ["model['b']"]),
        (types.MappingProxyType({"b": f32(2), "a": f32(1)}), ["model['a']", "model['b']"]),
        (Point(f32(2), [f32(1)]), ["model.x", "model.y[0]"]),
    ],
)
def test_a_leafs_path_is_the_expression_that_gets_it(model, expected):
    structure = Structure("test", model)
    assert structure.paths == expected
    for path, leaf in zip(structure.paths, structure.leaves("test", model), strict=True):
        assert eval(path) is leaf


def test_the_order_of_leaves_does_not_depend_on_the_order_of_keys():
    one = {"x": f32(1), "y": {"q": f32(2), "p": f32(3)}}
    other = {"y": {"p": f32(3), "q": f32(2)}, "x": f32(1)}
    assert paths(one) == paths(other)
    leaves = Structure("test", one).leaves("test", other)
    assert [leaf.shape for leaf in leaves] == [(1,), (3,), (2,)]


def test_keys_that_cannot_be_compared_have_an_order_all_the_same():
    one, other = {1: f32(1), "a": f32(2), None: f32(3)}, {None: f32(3), "a": f32(2), 1: f32(1)}
    assert paths(one) == paths(other)


def test_flat_leaves_keep_their_own_paths_and_order():
    leaves = Leaves({".params['b']": f32(1), ".params['a']": f32(2)})
    structure = Structure("test", leaves)
    assert structure.paths == ["model.params['b']", "model.params['a']"]
    rebuilt = structure.rebuild(leaves, structure.empty())
    assert type(rebuilt) is Leaves
    assert list(rebuilt) == list(leaves)


def test_a_binding_takes_the_arrays_of_its_framework_apart_itself():
    class Foreign:
        __array_interface__ = f32(2).__array_interface__

    assert paths({"w": Foreign()}) == ["model['w']"]
    with pytest.raises(TypeError, match=r"^test: model\['w'\] is a Foreign; a model holds numpy arrays"):
        Structure("test", Leaves({"['w']": Foreign()}))
    structure = Structure("test", Leaves({"['w']": f32(2)}))
    with pytest.raises(TypeError, match=r"^test: model\['w'\] is a Foreign"):
        structure.leaves("test", Leaves({"['w']": Foreign()}))


# What can be averaged.


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_floats_of_four_dtypes_are_leaves(dtype):
    structure = Structure("test", [np.zeros((2, 3), dtype), np.zeros((), dtype), np.zeros((0, 4), dtype)])
    assert structure.counts == [6, 1, 0]
    assert structure.shapes == [(2, 3), (), (0, 4)]
    assert {DTYPES[number].name for number in structure.dtype_numbers} == {np.dtype(dtype).name}


@pytest.mark.parametrize(
    ("leaf", "says"),
    [
        (np.zeros(2, np.int32), "int32"),
        (np.zeros(2, np.complex128), "complex128"),
        (np.zeros(2, bool), "bool"),
        (np.zeros(2, object), "object"),
        (np.zeros(2, ml_dtypes.float8_e4m3), "float8_e4m3"),
        (np.zeros(2, [("x", np.float32)]), "void32"),
        (np.zeros(2, np.dtype(np.float64).newbyteorder()), "byte order"),
        (np.float64(1.0), "float64"),
        (1.0, "float"),
        (None, "NoneType"),
        ("w", "str"),
        ({1.0}, "set"),
        (Point, "type"),
        (Point(f32(1), "w"), "model['net'][1].y is a str"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_anything_else_is_refused_by_its_path(leaf, says):
    with pytest.raises(TypeError) as raised:
        Structure("average", {"net": [f32(1), leaf]})
    assert "average: model['net'][1]" in str(raised.value)
    assert says in str(raised.value)


@pytest.mark.parametrize("model", [{}, [], (), {"a": [], "b": {}}, types.MappingProxyType({})])
def test_a_model_without_arrays_is_refused(model):
    with pytest.raises(ValueError) as raised:
        Structure("test", model)
    assert str(raised.value) == "test: the model holds no array; pass at least one to average"


# What may not change.

MADE_FOR = {"a": f32(2), "b": [f32(3), np.zeros(4)]}


@pytest.mark.parametrize(
    ("model", "kind", "says"),
    [
        ({**MADE_FOR, "c": f32(1)}, ValueError, "model['c'] is not in the model"),
        ({"a": f32(2)}, ValueError, "model['b'][0] is missing"),
        ({"b": MADE_FOR["b"]}, ValueError, "model['a'] is missing"),
        ({**MADE_FOR, "b": [f32(3)]}, ValueError, "model['b'][1] is missing"),
        ({**MADE_FOR, "b": f32(3)}, ValueError, "model['b'] is not in the model"),
        ({**MADE_FOR, "a": f32(2, 1)}, ValueError, "model['a'] is float32[2, 1], "),
        ({**MADE_FOR, "a": np.zeros(2)}, ValueError, "model['a'] is float64[2], "),
        ({**MADE_FOR, "a": [0.0, 0.0]}, ValueError, "model['a'][0] is not in the model"),
        ({**MADE_FOR, "a": 0.0}, TypeError, "model['a'] is a float"),
        (None, ValueError, "model is not in the model"),
        ([], ValueError, "model['a'] is missing"),
    ],
)
def test_another_structure_is_refused_by_the_first_path_that_differs(model, kind, says):
    structure = Structure("make", MADE_FOR)
    with pytest.raises(kind) as raised:
        structure.leaves("average", model)
    assert str(raised.value).startswith(f"average: {says}")


def test_an_outputs_paths_are_called_out():
    structure = Structure("make", MADE_FOR)
    with pytest.raises(ValueError, match=r"^average: out\['b'\]\[0\] is missing"):
        structure.leaves("average", {"a": f32(2)}, "out")
    with pytest.raises(ValueError, match=r"^average: out is not in the model"):
        Structure("make", [f32(1)]).leaves("average", f32(1), "out")
    with pytest.raises(ValueError, match=r"^average: out is float32\[2\]"):
        Structure("make", f32(1)).leaves("average", f32(2), "out")


@pytest.mark.parametrize("leaf", [f32(3, 2).T, f32(4, 3)[::2], f32(2, 6)[:, ::2], f32(2, 3)[::-1]])
def test_strides_may_change(leaf):
    structure = Structure("make", {"w": f32(2, 3)})
    assert structure.leaves("average", {"w": leaf})[0] is leaf


# Rebuilding.


def rebuilt(model):
    structure = Structure("test", model)
    leaves = structure.leaves("test", model)
    return structure.rebuild(model, [leaf + 1 for leaf in leaves])


def same(model, other):
    """Say whether `other` is like `model`, with 1 added to every leaf."""
    assert type(model) is type(other)
    if dataclasses.is_dataclass(model):
        return all(same(getattr(model, name), getattr(other, name)) for name in ("x", "y"))
    if isinstance(model, collections.abc.Mapping):
        assert list(model) == list(other)
        return all(same(model[key], other[key]) for key in model)
    if isinstance(model, list | tuple):
        return len(model) == len(other) and all(map(same, model, other))
    return (model + 1 == other).all()


@pytest.mark.parametrize(
    "model",
    [
        f32(2, value=3),
        [f32(2, value=3), (f32(1, value=4), {})],
        {"z": f32(1, value=1), "a": f32(1, value=2), "m": {"k": f32(2, value=3), "b": f32(2, value=4)}},
        Layer(f32(2, value=3), [f32(1, value=4)]),
        TwoDefaults(f32(2, value=3), f32(2, value=4)),
        collections.OrderedDict(z=f32(1, value=1), a=f32(1, value=2)),
        collections.defaultdict(list, z=f32(1, value=1), a=f32(1, value=2)),
        collections.Counter({"z": f32(1, value=1)}),
        Leaves({"x": f32(1, value=1), "b": f32(1, value=2)}),
        {"empty": (), "nothing": [], "w": f32(0)},
        {1: f32(1, value=1), "a": f32(1, value=2), None: f32(1, value=3)},
        OwnList([f32(1, value=1), f32(2, value=2)]),
        types.MappingProxyType({"z": f32(1, value=1), "a": {"k": f32(1, value=2)}}),
        OwnMapping({"z": f32(1, value=1), "a": f32(1, value=2)}),
        collections.UserDict(z=f32(1, value=1), a=f32(1, value=2)),
        Point(f32(1, value=1), {"k": f32(1, value=2)}),
        Frozen(f32(1, value=1), [f32(1, value=2)]),
    ],
    ids=lambda model: type(model).__name__,
)
def test_containers_are_rebuilt_as_they_were(model):
    assert same(model, rebuilt(model))


def test_rebuilding_leaves_the_original_alone():
    inner = {"a": f32(1)}
    model = {"x": [inner], "y": collections.OrderedDict(z=f32(1))}
    new = rebuilt(model)
    assert model["x"][0] is inner
    assert new["x"] is not model["x"]
    assert new["y"] is not model["y"]
    assert inner["a"][0] == model["y"]["z"][0] == 0


@pytest.mark.parametrize(
    "model", [OwnMutableMapping({"x": f32(1), "y": f32(1)}), OwnList([f32(1)]), Point(f32(1), f32(1))]
)
def test_rebuilding_writes_to_no_container_of_the_caller(model):
    leaves = Structure("test", model).leaves("test", model)
    rebuilt(model)
    kept = Structure("test", model).leaves("test", model)
    assert all(leaf is other for leaf, other in zip(leaves, kept, strict=True))


def test_a_mapping_that_can_not_be_made_from_a_dict_is_refused_with_the_cure():
    with pytest.raises(TypeError, match=r"^test: NotFromDict\(\{\.\.\.\}\) fails, .* pass dict\(mapping\)"):
        Structure("test", {"net": NotFromDict(w=f32(1))})


def test_a_defaultdict_keeps_its_factory():
    assert rebuilt(collections.defaultdict(list, w=f32(1))).default_factory is list


def test_one_array_at_two_places_is_two_leaves():
    tied = f32(2)
    structure = Structure("test", [tied, tied])
    assert structure.paths == ["model[0]", "model[1]"]
    assert [leaf is tied for leaf in structure.leaves("test", [tied, tied])] == [True, True]


def test_new_leaves_are_of_the_structures_shapes_and_dtypes():
    model = {"a": np.zeros((2, 3), ml_dtypes.bfloat16).T, "b": np.float16([1]), "c": np.array(1.0)}
    empty = Structure("test", model).empty()
    assert [(leaf.shape, leaf.dtype) for leaf in empty] == [
        ((3, 2), ml_dtypes.bfloat16),
        ((1,), np.float16),
        ((), np.float64),
    ]
    assert all(leaf.flags.c_contiguous and leaf.flags.writeable for leaf in empty)


def test_facts_are_plain_values_that_other_ranks_can_be_sent():
    facts = Structure("test", {"w": np.zeros((2, 3), ml_dtypes.bfloat16)}).facts()
    assert facts == [("model['w']", "bfloat16", (2, 3))]
