"""A CUDA driver backed by this host's memory: tests/support/fake_cuda.c, compiled and opened."""

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

import jax_bindings

STREAM = 7


class FakeCuda:
    """The library, and what a test may say to it and ask of it.

    From here on it is what this process opens as "libcuda.so.1".

    Args:
        folder: where it is compiled.
    """

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "libfake_cuda.so")
        source = Path(__file__).with_suffix(".c")
        flags = ["-std=gnu11", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
        header = f"-I{Path(jax_bindings.__path__[0])}"
        command = ["gcc", str(source), header, *flags, "-lpthread", "-o", self.path]
        subprocess.run(command, check=True, timeout=120)
        self._library = ctypes.CDLL(self.path)
        self._library.fake_calls.restype = ctypes.c_long
        self._library.fake_reset.argtypes = [ctypes.c_double]
        self._library.fake_work.argtypes = [ctypes.c_size_t, ctypes.c_double]
        self._library.fake_place.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        self._library.fake_handler.argtypes = [ctypes.c_void_p, ctypes.c_int]
        self.reset()

    def reset(self, delay: float = 0.0) -> None:
        """Forget all; each copy takes `delay` seconds from now on."""
        self._library.fake_reset(delay)

    def fail(self, name: str, after: int = 0) -> None:
        """Have a call fail, after so many of the name that don't."""
        self._library.fake_fail(name.encode(), after)

    def work(self, seconds: float, stream: int = STREAM) -> None:
        """Have the device compute for so long, in a stream."""
        self._library.fake_work(stream, seconds)

    def synchronize(self) -> None:
        """Have all copies happen that have begun."""
        self._library.fake_synchronize()

    def place_on_second(self, leaf: np.ndarray) -> None:
        """Have a leaf lie on the second device."""
        self._library.fake_place(leaf.ctypes.data, leaf.nbytes)

    def before(self, capsule: object, without_stream: bool = False) -> object:
        """Return a handler for XLA's calls on CPUs: a handler for those on a device, which gets a stream.

        Args:
            capsule: of the handler on the device.
            without_stream: whether it gets an error in place of the stream.
        """
        get, new = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_New
        get.argtypes, get.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
        new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        new.restype = ctypes.py_object
        self._library.fake_handler(get(capsule, None), without_stream)
        return new(ctypes.cast(self._library.fake_call, ctypes.c_void_p), None, None)

    @property
    def registered(self) -> int:
        """How many pieces of memory are registered."""
        return int(self._library.fake_registered())

    @property
    def retained(self) -> int:
        """How many contexts are retained."""
        return int(self._library.fake_retained())

    @property
    def depth(self) -> int:
        """How many contexts this thread has pushed and not popped."""
        return int(self._library.fake_depth())


class OnDevice:
    """An array "on a device" of the fake driver, as frameworks that know CUDA offer theirs."""

    def __init__(self, array: np.ndarray, **how: Any) -> None:
        self.array = array
        self.dtype = array.dtype
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "strides": None if array.flags.c_contiguous else array.strides,
            "version": 3,
            "stream": STREAM,
            **how,
        }


def addresses(leaves: list[np.ndarray]) -> list[int]:
    return [leaf.ctypes.data for leaf in leaves]
