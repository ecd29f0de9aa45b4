"""Arrays of other frameworks: numpy arrays over the same memory, and averages as the same kind of array.

No framework is imported here: a framework that has made a leaf is in sys.modules already.
"""

import sys
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

CPU = 1  # the number of a device's type in DLPack
WRITES_DLPACK = np.lib.NumpyVersion(np.__version__) >= "2.1.0"


def is_foreign(leaf: object) -> bool:
    """Return whether an object that is no numpy array offers its memory as one does."""
    return hasattr(leaf, "__dlpack__") or hasattr(leaf, "__array_interface__")


def as_array(path: str, leaf: object, foreign: bool = True) -> Array:
    """Return a numpy array over the memory of a leaf, without a copy; a numpy array itself.

    What can't be written to, such as a jax.Array, is read-only.

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
            f"{path} is a {type_name}; a model holds numpy arrays, or other arrays on the CPU, in lists, "
            f"tuples, mappings and dataclasses: {_cure(leaf)}"
        )
    return array


def like(leaf: object, average: Array | None) -> Any:
    """Return an average as the kind of array that a leaf is: itself, or a torch tensor over it."""
    if average is None or not _is_tensor(leaf):
        return average
    torch = sys.modules["torch"]
    if average.dtype.name == "bfloat16":
        return torch.from_numpy(average.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(average)


def why_read_only(leaf: object) -> str:
    """Return what to add to an error about a leaf that can't be written to."""
    if _is_of_jax(leaf):
        return f" ({_USE_JAX_BINDINGS})"
    if hasattr(leaf, "__dlpack__") and not hasattr(leaf, "__array_interface__") and not WRITES_DLPACK:
        return f" (numpy {np.__version__} only reads what __dlpack__ offers; install numpy 2.1 or newer)"
    return ""


_USE_JAX_BINDINGS = "jax arrays are read-only; jax_bindings.PytreeAverager averages pytrees of them"


def _view(leaf: Any) -> Array | None:
    """Return a numpy array over the memory of a leaf, or None if it doesn't offer any."""
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
    try:
        import ml_dtypes
    except ImportError:
        raise TypeError("numpy has bfloat16 from the package ml_dtypes: pip install ml_dtypes") from None
    return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)  # type: ignore[no-any-return]


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
