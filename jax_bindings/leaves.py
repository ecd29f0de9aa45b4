"""The leaves of a pytree: which are averaged, as which numpy arrays, and where averages are placed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.tree_util import PyTreeDef, keystr, tree_flatten_with_path

from wagma_rma.bindings import DTYPE_NAMES, Array, Leaves

PyTree: TypeAlias = Any  # containers that JAX knows, with leaves of any type
Path: TypeAlias = tuple[Any, ...]  # the keys that lead to a leaf, as JAX gives them
Select: TypeAlias = Callable[[Path, Any], bool] | PyTree  # which leaves are averaged; see PytreeAverager

# The cure for params on devices of several processes.
OWN = "a rank averages what its own process holds: pass addressable_data(0) of a replicated one"
ALIGNMENT = 64  # bytes; JAX uses a numpy array without copying it if its address is a multiple


@dataclass(frozen=True, slots=True)
class Flat:
    """A pytree taken apart.

    Attributes:
        paths: of all leaves, as jax.tree_util.keystr writes them.
        leaves: all, in the same order.
        tree: the containers.
        model: the leaves that are averaged, as numpy arrays by path.
        selected: the same leaves as they came, in the order of `model`.
    """

    paths: list[str]
    leaves: list[Any]
    tree: PyTreeDef
    model: Leaves
    selected: list[Any]

    @property
    def traced(self) -> bool:
        """Whether a leaf that is averaged is a value of a program that is being traced."""
        return any(isinstance(leaf, jax.core.Tracer) for leaf in self.selected)

    @property
    def on_accelerator(self) -> bool:
        """Whether a leaf that is averaged has to be copied from an accelerator."""
        return any(map(is_on_accelerator, self.selected))

    def begin_copies(self, unmoved: frozenset[str]) -> None:
        """Begin to copy all leaves but some to the host together; on a CPU this does nothing."""
        for path, leaf in zip(self.model, self.selected, strict=True):
            if isinstance(leaf, jax.Array) and path not in unmoved:
                leaf.copy_to_host_async()

    def fetchers(self) -> list[Callable[[], Array]]:
        """Return functions that fetch the leaves, one each, as plain arrays of the host."""
        return [
            partial(np.ascontiguousarray, leaf if is_on_accelerator(leaf) else array)
            for array, leaf in zip(self.model.values(), self.selected, strict=True)
        ]

    def rebuilt(self, averages: list[jax.Array]) -> PyTree:
        """Return the pytree with other values for the leaves that are averaged."""
        new = iter(averages)
        leaves = [
            next(new) if path in self.model else leaf
            for path, leaf in zip(self.paths, self.leaves, strict=True)
        ]
        return jax.tree_util.tree_unflatten(self.tree, leaves)

    def placed(self, averages: Leaves) -> PyTree:
        """Return the pytree with averages, on the devices where their leaves were; the rest as it came."""
        moved = [
            (averages[path], leaf)
            for path, leaf in zip(self.model, self.selected, strict=True)
            if path in averages
        ]
        shardings = [leaf.sharding if isinstance(leaf, jax.Array) else None for _, leaf in moved]
        placed = iter(jax.device_put([average for average, _ in moved], shardings))
        return self.rebuilt(
            [
                next(placed)
                if path in averages
                else leaf
                if isinstance(leaf, jax.Array)
                else jnp.asarray(array)
                for (path, array), leaf in zip(self.model.items(), self.selected, strict=True)
            ]
        )


def flatten(name: str, params: PyTree, unselected: frozenset[str]) -> Flat:
    """Take a pytree apart.

    Args:
        name: of the operation, for errors.
        unselected: the paths of the leaves that are not averaged.

    Raises:
        ValueError: two leaves have one path, or a leaf is on devices of several processes.
    """
    found, tree = tree_flatten_with_path(params)
    paths, leaves = [keystr(path) for path, _ in found], [leaf for _, leaf in found]
    if len(set(paths)) < len(paths):
        raise ValueError(f"{name}: two leaves have the same path; give the nodes distinct keys")
    selected = [(path, leaf) for path, leaf in zip(paths, leaves, strict=True) if path not in unselected]
    for path, leaf in selected:
        is_array = isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer)
        if is_array and not leaf.is_fully_addressable:
            raise ValueError(
                f"{name}: model{path} is spread over devices of other processes ({leaf.sharding}); {OWN}"
            )
    model = Leaves((path, on_host(leaf)) for path, leaf in selected)
    return Flat(paths, leaves, tree, model, [leaf for _, leaf in selected])


def check_leaves(name: str, model: Leaves) -> None:
    """Check, where an averager is made, that leaves can be averaged.

    Raises:
        TypeError: one can't; says what to pass instead of it.
    """
    leave_out = "pass select=floating, which averages the arrays of floats alone and leaves the rest as it is"
    for path, leaf in model.items():
        where, type_name = f"{name}: model{path}", type(leaf).__name__
        if isinstance(leaf, np.ndarray):
            if str(leaf.dtype) in DTYPE_NAMES:
                continue
            why = f"has dtype {leaf.dtype}; only {', '.join(DTYPE_NAMES)} can be averaged: {leave_out}"
        elif isinstance(leaf, bool | int | float | complex | np.generic):
            why = f"is a {type_name}; make it an array, jnp.asarray({leaf!r}), or {leave_out}"
        elif isinstance(leaf, jax.Array | str) or callable(leaf):
            why = f"is a {type_name}; {leave_out}"
        elif hasattr(leaf, "detach"):
            why = f"is a {type_name} of another framework; average its arrays with wagma_rma.GroupAverager"
        else:
            why = (
                f"is a {type_name}, no array and no container that JAX knows; register its class with "
                f"jax.tree_util, or {leave_out}"
            )
        raise TypeError(f"{where} {why}")


def on_host(leaf: Any) -> Any:
    """Return a leaf as the numpy array that JAX would make of it; what can't be averaged, unchanged.

    For a leaf of a trace or on an accelerator the array has the right shape and dtype, but no values.
    """
    if isinstance(leaf, jax.core.Tracer) or is_on_accelerator(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            return leaf
        return np.broadcast_to(np.empty((), leaf.dtype), leaf.shape)
    if isinstance(leaf, jax.Array) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return np.asarray(leaf)
    if isinstance(leaf, np.ndarray) and leaf.dtype == np.float64:
        return leaf.astype(jax.dtypes.canonicalize_dtype(np.float64), copy=False)
    return leaf


def find_unselected(params: PyTree, select: Select) -> frozenset[str]:
    """Return the paths of the leaves that `select` leaves alone.

    Raises:
        TypeError: `select` is a pytree that holds something else than bools.
    """
    return frozenset() if select is None else _found("select", params, select, False)


def find_synchronized(params: PyTree, select: Select) -> frozenset[str]:
    """Return the paths of the leaves that `select_synchronized` chooses.

    Raises:
        TypeError: it is a pytree that holds something else than bools.
    """
    return frozenset() if select is None else _found("select_synchronized", params, select, True)


def _found(name: str, params: PyTree, select: Select, sought: bool) -> frozenset[str]:
    """Return the paths of the leaves for which a choice is what is sought."""
    if callable(select):
        chosen = jax.tree_util.tree_map_with_path(lambda path, leaf: bool(select(path, leaf)), params)
    else:
        # A bool may stand for a whole subtree, as in optax.masked.
        chosen = jax.tree.map(lambda chosen, node: jax.tree.map(lambda _: chosen, node), select, params)
    found, _ = tree_flatten_with_path(chosen)
    for path, choice in found:
        if not isinstance(choice, bool | np.bool_):
            raise TypeError(
                f"PytreeAverager: {name}{keystr(path)} is a {type(choice).__name__}; "
                "it holds True for a leaf, or a node, to average and False for one to leave alone"
            )
    return frozenset(keystr(path) for path, choice in found if choice == sought)


def floating(path: Path, leaf: Any) -> bool:
    """Select the leaves that can be averaged, for PytreeAverager(select=floating): arrays of floats.

    Example:
        >>> [floating((), leaf) for leaf in (jnp.zeros(3, jnp.bfloat16), jnp.zeros(3, int), "Adam")]
        [True, False, False]
    """
    return hasattr(leaf, "dtype") and str(leaf.dtype) in DTYPE_NAMES


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return a new array that JAX will use without copying it."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(nbytes + ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % ALIGNMENT
    array: Array = memory[begin : begin + nbytes].view(dtype).reshape(shape)
    return array


def copied(flat: Flat) -> Leaves:
    """Return the model with values of its own, to be written to; what can't be averaged, unchanged."""
    model = Leaves()
    for (path, array), leaf in zip(flat.model.items(), flat.selected, strict=True):
        if isinstance(array, np.ndarray):
            model[path] = empty(array.shape, array.dtype)
            model[path][...] = leaf
        else:
            model[path] = leaf
    return model


def devices_of(leaf: Any) -> set[jax.Device]:
    """Return the devices that a leaf is on; a leaf that is no jax.Array is on none."""
    return leaf.sharding.device_set if isinstance(leaf, jax.Array) else set()


def platforms(leaves: list[Any]) -> set[str]:
    """Return the platforms of the devices that leaves are on; if they are on none, JAX's default."""
    return {device.platform for leaf in leaves for device in devices_of(leaf)} or {jax.default_backend()}


def are_cuda(leaves: list[Any]) -> bool:
    """Return whether the GPUs that leaves are on, or JAX's default ones, are CUDA's."""
    devices = [device for leaf in leaves for device in devices_of(leaf)] or jax.devices()
    return all("cuda" in device.client.platform_version.lower() for device in devices)


def is_on_several_devices(leaf: Any) -> bool:
    """Return whether a leaf is on several devices: for a leaf of a trace, whether its mesh has several."""
    if isinstance(leaf, jax.core.Tracer):
        return bool(jax.typeof(leaf).sharding.mesh.size > 1)
    return len(devices_of(leaf)) > 1


def is_on_accelerator(leaf: Any) -> bool:
    """Return whether a leaf is on an accelerator, so that it has to be copied from there."""
    return isinstance(leaf, jax.Array) and platforms([leaf]) != {"cpu"}
