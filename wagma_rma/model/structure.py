"""The shape of a model: nested containers of arrays, and the path, shape and dtype of each."""

import copy
import dataclasses
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, TypeAlias

import numpy as np

from wagma_rma.kernels.dtypes import NAMES
from wagma_rma.model.copies import DeviceLeaves
from wagma_rma.model.foreign import Array as Array
from wagma_rma.model.foreign import CudaArray, as_array, is_foreign, like, new_like, why_read_only

# Or a dataclass of models; and its arrays may be another framework's (wagma_rma.model.foreign).
Model: TypeAlias = "Array | list[Model] | tuple[Model, ...] | Mapping[Any, Model]"

# The memory of leaves, to be read: plain arrays, addresses, functions that return plain arrays, or leaves
# on a device; and to be written.
Sources: TypeAlias = list[Array] | list[int] | list[Callable[[], Array]] | DeviceLeaves
Targets: TypeAlias = list[Array] | list[int]


class Leaves(dict[str, Array]):
    """A flat model whose keys are the paths of its leaves, for bindings that flatten models themselves."""


def dtype_number(path: str, leaf: Array) -> int:
    """Return the number of a leaf's dtype (kernels.dtypes).

    Raises:
        TypeError: the leaf isn't an array of native floats; the message begins with its path.
    """
    if isinstance(leaf, np.ma.MaskedArray):
        raise TypeError(f"{path} is a masked array, and its mask would be lost; fill it with array.filled()")
    if not leaf.dtype.isnative:
        raise TypeError(
            f"{path} has dtype {leaf.dtype.str}, which is not this machine's byte order; "
            "convert it with array.astype(array.dtype.newbyteorder('='))"
        )
    try:
        return NAMES.index(leaf.dtype.name)
    except ValueError:
        raise TypeError(
            f"{path} has dtype {leaf.dtype.name}; only {', '.join(NAMES)} can be averaged: "
            "leave it out of the model (a counter or an index stays each rank's own), or convert it"
        ) from None


def _keys(node: Mapping[Any, Any]) -> list[Any]:
    """Return the keys in the order of leaves: sorted, since ranks may fill their dicts in other orders."""
    if isinstance(node, Leaves):
        return list(node)
    try:
        return sorted(node)
    except TypeError:
        return sorted(node, key=repr)


def _children(node: Any) -> Iterator[tuple[str, Any]] | None:
    """Yield the (path part, child) of a container in the order of leaves, or return None for a leaf."""
    if isinstance(node, np.ndarray):
        return None
    if isinstance(node, Leaves):
        return iter(node.items())
    if isinstance(node, dict):
        return ((f"[{key!r}]", node[key]) for key in _keys(node))
    if isinstance(node, list | tuple):
        return ((f"[{i}]", child) for i, child in enumerate(node))
    if is_foreign(node):
        return None
    if _is_dataclass(node):
        return ((f".{field.name}", getattr(node, field.name)) for field in dataclasses.fields(node))
    if isinstance(node, Mapping):
        return ((f"[{key!r}]", node[key]) for key in _keys(node))
    return None


def _is_dataclass(node: object) -> bool:
    return dataclasses.is_dataclass(node) and not isinstance(node, type)


def _walk(path: str, node: Any, containers: list[tuple[str, type]]) -> Iterator[tuple[str, Any]]:
    """Yield (path, leaf) in order, and note (path, type) of each container in passing."""
    children = _children(node)
    if children is None:
        yield path, node
    else:
        containers.append((path, type(node)))
        for part, child in children:
            yield from _walk(path + part, child, containers)


def _map(node: Any, values: Iterator[Any]) -> Any:
    """Rebuild containers like `node` around new leaves, each of the kind of the leaf at its place."""
    if isinstance(node, np.ndarray):
        return next(values)
    if isinstance(node, dict):
        same = copy.copy(node)  # keeps the type and the caller's order of keys
        for key in _keys(node):
            same[key] = _map(node[key], values)
        return same
    if isinstance(node, tuple):
        children = [_map(child, values) for child in node]
        return type(node)(*children) if hasattr(node, "_fields") else type(node)(children)
    if isinstance(node, list):
        new = copy.copy(node)
        new[:] = [_map(child, values) for child in node]
        return new
    if is_foreign(node):
        return like(node, next(values))
    if _is_dataclass(node):
        same = copy.copy(node)
        for field in dataclasses.fields(node):
            # Also in a frozen dataclass: nobody else has the copy.
            object.__setattr__(same, field.name, _map(getattr(node, field.name), values))
        return same
    if isinstance(node, Mapping):
        mapped = {key: _map(node[key], values) for key in _keys(node)}
        return _mapping(type(node), {key: mapped[key] for key in node})
    return next(values)


def _mapping(cls: Any, items: dict[Any, Any]) -> Any:
    """Return a mapping of a class with these items. (A copy of another one might share its memory.)"""
    try:
        return cls(items)
    except Exception as error:
        raise TypeError(
            f"{cls.__name__}({{...}}) fails, so the average can't come as the mapping that the model is "
            f"({error}); pass dict(mapping) in its place"
        ) from error


def paths_of(model: Any) -> list[tuple[str, Any]]:
    """Return (path, leaf) of what containers hold, in the order of leaves."""
    return list(_walk("model", model, []))


class Structure:
    """Containers, paths, shapes and dtypes of a model, taken from an example of it.

    Raises:
        TypeError: a leaf can't be averaged, or a mapping can't be made from a dict.
        ValueError: the model has no leaves.
    """

    def __init__(self, name: str, model: object) -> None:
        self._containers: list[tuple[str, type]] = []
        walked = list(_walk("model", model, self._containers))
        if not walked:
            raise ValueError(f"{name}: the model holds no array; pass at least one to average")
        self.paths = [path for path, _ in walked]
        # A binding takes the arrays of its framework apart itself.
        self._foreign = not isinstance(model, Leaves)
        leaves = [as_array(f"{name}: {path}", leaf, self._foreign) for path, leaf in walked]
        self.dtype_numbers = [
            dtype_number(f"{name}: {path}", leaf) for path, leaf in zip(self.paths, leaves, strict=True)
        ]
        self.shapes = [leaf.shape for leaf in leaves]
        self.dtypes = [leaf.dtype for leaf in leaves]
        self.counts = [leaf.size for leaf in leaves]
        self.synchronized = [False] * len(leaves)  # which leaves are averaged at synchronisations only
        self._single = not self._containers
        try:
            _map(model, iter([None] * len(leaves)))
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from error

    def single(self) -> Array | None:
        """Return an array without memory, of the shape and dtype of a model that is one array; else None."""
        return np.broadcast_to(np.empty((), self.dtypes[0]), self.shapes[0]) if self._single else None

    def leaves(self, name: str, model: Any, what: str = "model") -> list[Array]:
        """Return the leaves of a model of this structure, those of other frameworks as numpy arrays.

        Raises:
            TypeError, ValueError: it has another structure; says where.
        """
        if self._single and type(model) is np.ndarray:
            leaves = [model]
            if model.shape == self.shapes[0] and model.dtype == self.dtypes[0]:
                return leaves
        containers: list[tuple[str, type]] = []
        walked = list(_walk("model", model, containers))
        if what != "model":
            walked = [(what + path.removeprefix("model"), leaf) for path, leaf in walked]
        expected = [what + path.removeprefix("model") for path in self.paths]
        found: list[Array] = []
        for i, (path, taken) in enumerate(walked):
            if i >= len(expected) or path != expected[i]:
                known = path in expected
                raise ValueError(
                    f"{name}: {path if not known else expected[i]} "
                    f"{'is missing from' if known else 'is not in'} "
                    f"{'this model' if known else 'the model the averager was made for'}; "
                    "the structure of a model can't change: make a new averager for another"
                )
            where = f"{name}: {path}"
            leaf = taken if isinstance(taken, np.ndarray) else as_array(where, taken, self._foreign)
            dtype_number(where, leaf)
            found.append(leaf)
            if leaf.shape != self.shapes[i] or leaf.dtype != self.dtypes[i]:
                raise ValueError(
                    f"{where} is {leaf.dtype.name}{list(leaf.shape)}, but the averager was made for "
                    f"{self.dtypes[i].name}{list(self.shapes[i])}; make a new averager for another model"
                )
        if len(walked) < len(expected):
            raise ValueError(
                f"{name}: {expected[len(walked)]} is missing from this model; "
                "the structure of a model can't change: make a new averager for another"
            )
        if containers != self._containers:
            pairs = zip_longest(containers, self._containers, fillvalue=("", type(None)))
            (path, container), (usual_path, usual) = next(pair for pair in pairs if pair[0] != pair[1])
            where = what + (path or usual_path).removeprefix("model")
            raise ValueError(
                f"{name}: {where} is a {container.__name__} where the averager's model has a "
                f"{usual.__name__}; make a new averager for another model"
            )
        return found

    def check_writable(self, name: str, model: Any, leaves: list[Array], what: str, cure: str) -> None:
        """Refuse a model that can't be written to.

        Args:
            leaves: its leaves, as leaves() has returned them.
            what: how errors call it.

        Raises:
            ValueError: a leaf is read-only; names it and the cure.
        """
        for i, leaf in enumerate(leaves):
            if not leaf.flags.writeable:
                _, taken = list(_walk("", model, []))[i]
                path = what + self.paths[i].removeprefix("model")
                raise ValueError(f"{name}: {path} is read-only{cure}{why_read_only(taken)}")

    def check_place(self, name: str, *parts: list[Array]) -> None:
        """Refuse leaves, of a model and of its output, that lie on a CUDA device in part.

        Raises:
            ValueError: names a leaf that does, and one that doesn't.
        """
        on_cuda = [isinstance(leaf, CudaArray) for leaves in parts for leaf in leaves]
        if any(on_cuda) and not all(on_cuda):
            names = [(what + path.removeprefix("model")) for what in ("model", "out") for path in self.paths]
            raise ValueError(
                f"{name}: {names[on_cuda.index(True)]} is on a CUDA device, and "
                f"{names[on_cuda.index(False)]} is not; pass all leaves on the device, or all on the CPU"
            )

    def check_apart(self, name: str, leaves: list[CudaArray], outputs: list[CudaArray]) -> None:
        """Refuse an output on a device that lies where a leaf of the model is copied from to elsewhere.

        Raises:
            ValueError: names both.
        """
        moved = [
            (leaf.address, leaf.address + leaf.nbytes, i)
            for i, (leaf, output) in enumerate(zip(leaves, outputs, strict=True))
            if leaf.size and leaf.address != output.address
        ]
        moved.sort()
        for i, output in enumerate(outputs if moved else []):
            # Sources seldom overlap each other, so the last one that begins before the end is enough.
            last = bisect_left(moved, (output.address + output.nbytes,)) - 1
            if output.size and last >= 0 and moved[last][1] > output.address:
                of_model, of_out = self.paths[moved[last][2]], "out" + self.paths[i].removeprefix("model")
                raise ValueError(
                    f"{name}: {of_out} lies where {of_model} does, and on a device that can't be; pass other "
                    "memory, or out=model"
                )

    def new(self, name: str, model: Any) -> Any:
        """Return containers like those of a model on a CUDA device, with new arrays of its kinds.

        Raises:
            TypeError: there is no way to make one.
        """
        made = []
        for path, leaf in paths_of(model):
            try:
                made.append(new_like(leaf))
            except TypeError as error:
                raise TypeError(f"{name}: {path} is a {type(leaf).__name__}, and {error}") from None
        return self.rebuild(model, made)

    def empty(self) -> list[Array]:
        """Return new, uninitialised leaves."""
        return [np.empty(shape, dtype) for shape, dtype in zip(self.shapes, self.dtypes, strict=True)]

    def rebuild(self, model: Any, leaves: Sequence[Any]) -> Any:
        """Return containers like those of `model` around other leaves."""
        return leaves[0] if isinstance(model, np.ndarray) else _map(model, iter(leaves))

    def facts(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """Return what ranks must agree on: (path, dtype, shape) of each leaf."""
        return [
            (path, dtype.name, shape)
            for path, dtype, shape in zip(self.paths, self.dtypes, self.shapes, strict=True)
        ]
