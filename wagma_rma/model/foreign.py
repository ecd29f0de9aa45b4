"""Arrays of other frameworks: numpy arrays over the same memory, and averages as the same kind of array.

No framework is imported here: a framework that has made a leaf is in sys.modules already.
"""

import sys
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

CPU = 1  # the number of a device's type in DLPack
WRITES_DLPACK = np.lib.NumpyVersion(np.__version__) >= "2.1.0"


LEGACY_STREAM = 1  # of CUDA: the default stream


class Flags(NamedTuple):
    """What may be done with an array, as numpy.ndarray.flags says it."""

    writeable: bool


@dataclass(frozen=True, slots=True)
class CudaArray:
    """A C-contiguous array in the memory of a CUDA device. It does not keep that alive."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    flags: Flags
    stream: int
    """The handle of the stream in whose order the array is used."""

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """The bytes of all elements."""
        return self.size * self.dtype.itemsize


def is_foreign(leaf: object) -> bool:
    """Return whether an object that is no numpy array offers its memory as one does."""
    return any(hasattr(leaf, name) for name in ("__dlpack__", "__array_interface__")) or _is_cuda(leaf)


def as_array(path: str, leaf: object, foreign: bool = True) -> Any:
    """Return a numpy array over the memory of a leaf, without a copy; a numpy array itself.

    What can't be written to, such as a jax.Array, is read-only. Of a leaf on a CUDA device: a CudaArray.

    Args:
        foreign: whether leaves may be anything but numpy arrays.

    Raises:
        TypeError: numpy can't use its memory, or it is no array; the message begins with `path`.
    """
    if isinstance(leaf, np.ndarray):
        return leaf
    type_name = type(leaf).__name__
    try:
        array = _view(leaf) if foreign and not isinstance(leaf, np.generic) else None
    except Exception as error:
        raise TypeError(
            f"{path} is a {type_name}, and numpy can't use its memory ({error}); {_cure(leaf)}"
        ) from error
    if array is None:
        raise TypeError(
            f"{path} is a {type_name}; a model holds numpy arrays, or other arrays of floats, in lists, "
            f"tuples, mappings and dataclasses: {_cure(leaf)}"
        )
    return array


def like(leaf: object, average: Any) -> Any:
    """Return an average as the kind of array that a leaf is: itself, or a torch tensor over it."""
    if not isinstance(average, np.ndarray) or not _is_tensor(leaf):
        return average
    torch = sys.modules["torch"]
    if average.dtype.name == "bfloat16":
        return torch.from_numpy(average.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(average)


def new_like(leaf: object) -> Any:
    """Return a new array of the kind of a leaf on a CUDA device.

    Raises:
        TypeError: it is of no framework that is known here.
    """
    if _is_tensor(leaf):
        return sys.modules["torch"].empty_like(leaf.detach())  # type: ignore[attr-defined]
    if type(leaf).__module__.partition(".")[0] == "cupy":
        return sys.modules["cupy"].empty_like(leaf)
    raise TypeError("no new array can be made like it; pass `out`, such as out=model")


def why_read_only(leaf: object) -> str:
    """Return what to add to an error about a leaf that can't be written to."""
    if _is_of_jax(leaf):
        return f" ({_USE_JAX_BINDINGS})"
    if hasattr(leaf, "__dlpack__") and not hasattr(leaf, "__array_interface__") and not WRITES_DLPACK:
        return f" (numpy {np.__version__} only reads what __dlpack__ offers; install numpy 2.1 or newer)"
    return ""


_USE_JAX_BINDINGS = "jax arrays are read-only; jax_bindings.PytreeAverager averages pytrees of them"


def _is_cuda(leaf: object) -> bool:
    """Return whether a leaf lies on a CUDA device and offers its memory there."""
    if _is_tensor(leaf):
        return bool(leaf.is_cuda)  # type: ignore[attr-defined]
    return not _is_of_jax(leaf) and hasattr(leaf, "__cuda_array_interface__")


def _on_cuda(leaf: Any) -> CudaArray:
    """Return where a leaf lies on its CUDA device.

    Source: the CUDA array interface, version 3 (https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html).
    """
    is_tensor = _is_tensor(leaf)
    interface = (leaf.detach() if is_tensor else leaf).__cuda_array_interface__
    name = str(leaf.dtype).removeprefix("torch.")
    dtype = _bfloat16() if name == "bfloat16" else np.dtype(interface["typestr"])
    shape, strides = tuple(interface["shape"]), interface.get("strides")
    contiguous = tuple(int(np.prod(shape[i + 1 :])) * dtype.itemsize for i in range(len(shape)))
    if strides is not None and 0 not in shape and tuple(strides) != contiguous:
        raise BufferError("it is not C-contiguous; pass a contiguous copy")
    address, read_only = interface["data"]
    if is_tensor:
        stream = sys.modules["torch"].cuda.current_stream(leaf.device).cuda_stream
    else:
        stream = interface.get("stream")
    return CudaArray(address or 0, shape, dtype, Flags(not read_only), stream or LEGACY_STREAM)


def _view(leaf: Any) -> Any:
    """Return an array over the memory of a leaf, or None if it doesn't offer any."""
    if _is_cuda(leaf):
        return _on_cuda(leaf)
    if _is_tensor(leaf):
        # Outside of autograd, as an optimizer changes parameters.
        return _of_tensor(leaf.detach())
    if hasattr(leaf, "__array_interface__"):
        return np.asarray(leaf)
    if not hasattr(leaf, "__dlpack__"):
        return None
    device, _ = leaf.__dlpack_device__()
    if device != CPU:
        raise BufferError(f"it is on a device of DLPack's type {int(device)}, not on the CPU")
    try:
        return np.from_dlpack(leaf)
    except (BufferError, RuntimeError):
        if not hasattr(leaf, "__array__"):
            raise
        # For its dtype: DLPack's bfloat16 is unknown to numpy. This may be a copy, so it is for reading.
        array = np.asarray(leaf).view()
        array.flags.writeable = False
        return array


def _of_tensor(tensor: Any) -> Array:
    """Return a numpy array over the memory of a torch tensor outside of autograd."""
    torch = sys.modules["torch"]
    if tensor.dtype is not torch.bfloat16:
        return tensor.numpy()  # type: ignore[no-any-return]
    return tensor.view(torch.int16).numpy().view(_bfloat16())  # type: ignore[no-any-return]


def _bfloat16() -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ImportError:
        raise TypeError("numpy has bfloat16 from the package ml_dtypes: pip install ml_dtypes") from None
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def _is_tensor(leaf: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(leaf, torch.Tensor)


def _is_of_jax(leaf: object) -> bool:
    return type(leaf).__module__.partition(".")[0] in ("jax", "jaxlib")


def _cure(leaf: object) -> str:
    """Return what to pass in place of a leaf that can't be taken."""
    if _is_tensor(leaf):
        return (
            "pass a dense tensor of floats on the CPU, such as tensor.cpu(), and copy the average back: "
            "tensor.copy_(average)"
        )
    if hasattr(leaf, "named_parameters"):
        return (
            "pass the tensors of a network, {name: tensor for name, tensor in network.state_dict().items() "
            "if tensor.is_floating_point()}"
        )
    if _is_of_jax(leaf):
        return _USE_JAX_BINDINGS
    if isinstance(leaf, int | float | np.generic) or hasattr(leaf, "__array__"):
        return "np.asarray turns it into an array, which is averaged in its place"
    return "leave it out of the model"
