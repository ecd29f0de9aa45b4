"""Arrays of other frameworks are read and written where they lie, or an error names the cure that works."""

import ml_dtypes
import numpy as np
import pytest

from tests.support.worlds import alone
from wagma_rma.buffers import Buffers
from wagma_rma.memory import Memory
from wagma_rma.model import foreign
from wagma_rma.model.foreign import as_array, is_foreign, like
from wagma_rma.model.structure import Structure


class ByDlpack:
    """An array of a framework that offers its memory by DLPack alone."""

    def __init__(self, array, device=None):
        self.array = array
        self.device = device

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device or self.array.__dlpack_device__()


class OfUnknownDtype(ByDlpack):
    """One of a dtype that numpy does not know from DLPack."""

    def __dlpack__(self, **options):
        raise BufferError("numpy has no such dtype")


class OfUnknownDtypeCopied(OfUnknownDtype):
    """The same, with copies for numpy."""

    def __array__(self, dtype=None, copy=None):
        return self.array.copy()


class ByInterface:
    """One that offers it by numpy's array interface alone."""

    def __init__(self, array):
        self.array = array
        self.__array_interface__ = array.__array_interface__


def refusal(leaf):
    with pytest.raises(TypeError) as raised:
        Structure("test", {"w": leaf})
    return str(raised.value)


def f32(*shape):
    return np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)


# Any framework's.


@pytest.mark.parametrize("kind", [ByDlpack, ByInterface])
def test_what_offers_its_memory_is_read_and_written_there(kind):
    array = f32(2, 3)
    leaf = kind(array)
    assert is_foreign(leaf)
    taken = as_array("test", leaf)
    assert np.shares_memory(taken, array)
    if kind is ByDlpack and not foreign.WRITES_DLPACK:
        assert not taken.flags.writeable
        assert "install numpy 2.1 or newer" in foreign.why_read_only(leaf)
        return
    assert foreign.why_read_only(leaf) == ""
    taken[1, 2] = 7
    assert array[1, 2] == 7


def test_what_may_be_a_copy_is_only_read():
    taken = as_array("test", OfUnknownDtypeCopied(f32(3)))
    assert taken.tolist() == [0, 1, 2]
    assert not taken.flags.writeable
    assert "numpy can't use its memory (numpy has no such dtype)" in refusal(OfUnknownDtype(f32(3)))


def test_a_numpy_array_is_taken_as_it_is():
    array = f32(3)
    assert as_array("test", array) is array
    assert like(array, array) is array


def test_an_average_for_another_kind_of_array_is_a_numpy_array():
    average = f32(3)
    assert like(ByDlpack(f32(3)), average) is average


def test_what_is_read_only_stays_so():
    array = f32(3)
    array.flags.writeable = False
    assert not as_array("test", ByInterface(array)).flags.writeable


def test_an_array_on_another_device_is_refused():
    told = refusal(ByDlpack(f32(3), device=(2, 0)))  # 2: CUDA
    assert told.startswith("test: model['w'] is a ByDlpack, and numpy can't use its memory")
    assert "type 2, not on the CPU" in told


@pytest.mark.parametrize(
    ("leaf", "cure"),
    [
        (1.5, "np.asarray turns it into an array"),
        (np.float32(1.5), "np.asarray turns it into an array"),
        ("weights", "leave it out of the model"),
        (None, "leave it out of the model"),
        (
            np.arange(3),
            "leave it out of the model (a counter or an index stays each rank's own), or convert it",
        ),
    ],
)
def test_what_is_no_array_of_floats_is_refused_with_the_cure(leaf, cure):
    assert cure in refusal(leaf)


# PyTorch.


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


DTYPES = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


@pytest.mark.parametrize("name", DTYPES)
def test_a_tensor_is_read_and_written_where_it_lies(torch, name):
    tensor = torch.arange(6, dtype=getattr(torch, name)).reshape(2, 3)
    array = as_array("test", tensor)
    assert array.dtype == DTYPES[name]
    assert array.tolist() == tensor.tolist()
    array[1, 2] = 7
    assert tensor[1, 2] == 7


@pytest.mark.parametrize("name", DTYPES)
def test_an_average_for_a_tensor_is_a_tensor_over_its_memory(torch, name):
    average = np.arange(6).reshape(2, 3).astype(DTYPES[name])
    tensor = like(torch.zeros(2, 3), average)
    assert type(tensor) is torch.Tensor
    assert tensor.dtype is getattr(torch, name)
    assert tensor.tolist() == average.tolist()
    average[1, 2] = 7
    assert tensor[1, 2] == 7


def test_a_parameter_that_requires_its_gradient_is_written_outside_of_autograd(torch):
    layer = torch.nn.Linear(3, 2)
    (layer(torch.ones(3)) ** 2).sum().backward()
    gradient = layer.weight.grad.clone()
    as_array("test", layer.weight)[...] = 7
    assert (layer.weight == 7).all()
    assert layer.weight.requires_grad
    assert (layer.weight.grad == gradient).all()


def test_a_tensor_of_another_memory_format_is_averaged_in_place(torch):
    tensor = torch.arange(24.0).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last)
    structure = Structure("test", {"w": tensor})
    rank = alone(structure.leaves("test", {"w": tensor}))
    memory = Memory(structure, Buffers(rank.snapshots, rank.layout, structure), None, None)
    held = memory.hold("average", {"w": tensor}, {"w": tensor})
    assert held.sources[0].tolist() == tensor.tolist()
    assert held.outputs[0].ctypes.data == tensor.data_ptr()
    held.outputs[0][...] = 7
    assert (tensor == 7).all()


def test_without_an_output_tensors_come_in_containers_like_the_models(torch):
    model = {"t": torch.ones(3), "n": f32(2)}
    structure = Structure("test", model)
    rank = alone(structure.leaves("test", model))
    memory = Memory(structure, Buffers(rank.snapshots, rank.layout, structure), None, None)
    held = memory.hold("average", model, None)
    held.targets[structure.paths.index("model['t']")][...] = 7
    assert held.result["t"].tolist() == [7, 7, 7]
    assert isinstance(held.result["n"], np.ndarray)
    assert model["t"].tolist() == [1, 1, 1]


def test_a_model_may_be_one_tensor(torch):
    structure = Structure("test", torch.ones(3))
    assert structure.leaves("test", torch.ones(3))[0].tolist() == [1, 1, 1]
    assert isinstance(structure.rebuild(torch.ones(3), structure.empty()), torch.Tensor)
    assert structure.leaves("test", np.ones(3, np.float32))[0].tolist() == [1, 1, 1]


def test_a_tensor_that_has_no_memory_here_is_refused_with_the_cure(torch):
    told = refusal(torch.zeros(3, device="meta"))  # as one on an accelerator
    assert told.startswith("test: model['w'] is a Tensor, and numpy can't use its memory (can't convert meta")
    assert "tensor.cpu()" in told
    assert "tensor.copy_(average)" in told
    assert "tensor.cpu()" in refusal(torch.zeros(3, 3).to_sparse())


def test_a_counter_of_integers_is_refused_with_the_cure(torch):
    counter = torch.nn.BatchNorm1d(3).num_batches_tracked
    assert "has dtype int64" in refusal(counter)
    assert "leave it out of the model" in refusal(counter)


def test_a_network_itself_is_refused_with_the_cure(torch):
    told = refusal(torch.nn.Linear(3, 2))
    assert "is a Linear" in told
    assert "network.state_dict().items() if tensor.is_floating_point()" in told


# JAX.


@pytest.fixture
def jnp():
    return pytest.importorskip("jax.numpy")


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_a_jax_array_is_read(jnp, name):
    leaf = jnp.arange(6, dtype=name).reshape(2, 3)
    array = as_array("test", leaf)
    assert array.dtype == DTYPES[name]
    assert array.tolist() == leaf.tolist()
    assert not array.flags.writeable


def test_a_jax_array_is_read_when_it_has_been_computed(jnp):
    import jax

    slow = jax.jit(lambda x: jax.lax.fori_loop(0, 200, lambda _, y: jnp.tanh(y @ y), x))
    x = jnp.eye(300) * 0.5
    expected = np.asarray(slow(x))
    assert (as_array("test", slow(x)) == expected).all()


def test_a_jax_array_that_would_be_written_is_refused_with_the_cure(jnp):
    model = {"w": jnp.zeros(3)}
    structure = Structure("test", model)
    rank = alone(structure.leaves("test", model))
    memory = Memory(structure, Buffers(rank.snapshots, rank.layout, structure), None, None)
    assert len(memory.hold("average", model, None).outputs) == 1
    with pytest.raises(ValueError) as raised:
        memory.hold("average", model, model)
    assert str(raised.value) == (
        "average: out['w'] is read-only; pass a writable array, or out=None for new ones "
        "(jax arrays are read-only; jax_bindings.PytreeAverager averages pytrees of them)"
    )


def test_a_value_that_is_being_traced_is_refused_with_the_cure(jnp):
    import jax

    told = []
    jax.make_jaxpr(lambda x: told.append(refusal(x)))(jnp.zeros(3))
    assert "jax_bindings.PytreeAverager" in told[0]
