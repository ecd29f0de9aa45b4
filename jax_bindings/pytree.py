"""Average pytrees of arrays: the numpy averager, called eagerly or from inside jit."""

import atexit
import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from mpi4py import MPI

from jax_bindings import compiled, xla_call
from wagma_rma import GroupAverager, Report, Statistics
from wagma_rma.kernels.dtypes import NAMES
from wagma_rma.model.structure import Array, Leaves, Structure
from wagma_rma.mpi.agreement import Facts, agree
from wagma_rma.opening import check_mpi

Params = TypeVar("Params")

LINE = 64  # bytes: JAX takes a numpy array as it is, without a copy, if it begins at a multiple


def _host(leaf: Any) -> Any:
    """Return a leaf as the numpy array that JAX would make of it, or unchanged what can't be averaged.

    Leaves of a trace, or on an accelerator, have shape and dtype there, but no values.
    """
    if isinstance(leaf, jax.core.Tracer) or _is_far(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            return leaf
        return np.broadcast_to(np.empty((), leaf.dtype), leaf.shape)
    if isinstance(leaf, jax.Array) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return np.asarray(leaf)
    if isinstance(leaf, np.ndarray) and leaf.dtype == np.float64:
        return leaf.astype(jax.dtypes.canonicalize_dtype(np.float64), copy=False)
    return leaf


def _flatten(name: str, params: Any, local: frozenset[str]) -> tuple[list[str], list[Any], Any, Leaves]:
    """Return the leaves' paths, the leaves, their tree, and a numpy model of those that are not `local`.

    Its keys are their paths.
    """
    found, tree = jax.tree_util.tree_flatten_with_path(params)
    paths, leaves = [jax.tree_util.keystr(path) for path, _ in found], [leaf for _, leaf in found]
    if len(set(paths)) < len(paths):
        raise ValueError(f"{name}: two leaves have the same path; give the nodes distinct keys")
    ours = [(path, leaf) for path, leaf in zip(paths, leaves, strict=True) if path not in local]
    for path, leaf in ours:
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer):
            if not leaf.is_fully_addressable:
                raise ValueError(
                    f"{name}: model{path} is spread over devices of other processes ({leaf.sharding}); a "
                    "rank averages what its own process holds: pass addressable_data(0) of a replicated one"
                )
            leaf.copy_to_host_async()  # all leaves at once; nothing on a CPU
    model = Leaves((path, _host(leaf)) for path, leaf in ours)
    return paths, leaves, tree, model


def _local(params: Any, select: Any) -> frozenset[str]:
    """Return the paths of the leaves that are not selected."""
    if select is None:
        return frozenset()
    if callable(select):
        chosen = jax.tree_util.tree_map_with_path(lambda path, leaf: bool(select(path, leaf)), params)
    else:
        # A bool may stand for a whole subtree, as in optax.masked.
        chosen = jax.tree.map(lambda chosen, node: jax.tree.map(lambda _: chosen, node), select, params)
    found, _ = jax.tree_util.tree_flatten_with_path(chosen)
    for path, choice in found:
        if not isinstance(choice, bool | np.bool_):
            raise TypeError(
                f"PytreeAverager: select{jax.tree_util.keystr(path)} is a {type(choice).__name__}; "
                "it holds True for a leaf, or a node, to average and False for one to leave alone"
            )
    return frozenset(jax.tree_util.keystr(path) for path, choice in found if not choice)


def floating(path: tuple[Any, ...], leaf: Any) -> bool:
    """Select the leaves that can be averaged, for PytreeAverager(select=floating): arrays of floats.

    Example:
        >>> [floating((), leaf) for leaf in (jnp.zeros(3, jnp.bfloat16), jnp.zeros(3, int), "Adam")]
        [True, False, False]
    """
    return hasattr(leaf, "dtype") and str(leaf.dtype) in NAMES


class PytreeAverager:
    """Average a pytree of arrays over small, changing groups of ranks, in or out of jit.

    `params = averager(params)` does one step: wagma_rma.GroupAverager says what a step is. In a compiled
    function it is one step each time that the function runs, and in each turn of a lax loop. (Pass the params
    to the function as arguments: constants would be averaged once, when tracing.) Eager calls and compiled
    ones share the averager and its steps. What orders these is that each is given what came of the one
    before; several averagers in one function keep the order of the program besides.

    Args:
        comm: the ranks, an mpi4py intracommunicator, on one host or many. It is duplicated.
        params: any pytree of jax.Arrays and numpy arrays of float32, float64, float16 or bfloat16; what the
            averager will be called with, and the start. Unlike GroupAverager's model it is not written to.
            All of its leaves are averaged unless `select` says otherwise. A leaf on several devices of this
            process, replicated or sharded, is averaged as a whole, once, and comes back as it was.
        select: which leaves are averaged: a function of a leaf's path (a tuple of keys, as
            jax.tree_util.tree_map_with_path gives it) and the leaf, or a pytree of bools like `params`, in
            which one may stand for a whole subtree. It is asked once. The other leaves may be anything, such
            as integers or random keys, or be missing; a step returns them as they came. None: all.
        backend: how a compiled function calls the averager. "ffi": XLA hands over its buffers, which are
            averaged in place; on one CPU device. "callback": an ordered jax.experimental.io_callback, which
            copies them; on any devices, and in the order of the program whatever becomes of the results.
            "auto": "ffi" where it can be.
        options: group_size, sync_period, quorum, patience, grouping, broadcast, start_step, timeout,
            topology, window, progress: as of GroupAverager.

    Attributes:
        params: the common start, rank 0's values (with broadcast=False: this rank's), as jax.Arrays;
            leaves that are not selected as they came.
        backend: "ffi" or "callback": what compiled functions use (on several devices always the latter).

    Raises (on every rank): as GroupAverager. Messages name leaves as jax.tree_util.keystr does.

    Making an averager is collective, and so is close(). As a context manager it closes itself at the end of
    its block, and an error of a step in a compiled function leaves the block as itself.

    Example, on each of two ranks:
        >>> comm = MPI.COMM_WORLD
        >>> params = {"w": jnp.zeros(3) + comm.rank}
        >>> with PytreeAverager(comm, params, group_size=2, quorum=2, broadcast=False) as averager:
        ...     step = jax.jit(lambda params: averager(jax.tree.map(lambda leaf: 2 * leaf, params)))
        ...     params = jax.block_until_ready(step(params))
        >>> params
        {'w': Array([1., 1., 1.], dtype=float32)}
    """

    params: Any
    backend: Literal["ffi", "callback"]

    def __init__(
        self,
        comm: MPI.Intracomm,
        params: Any,
        *,
        select: Callable[[tuple[Any, ...], Any], bool] | Any = None,
        backend: Literal["auto", "ffi", "callback"] = "auto",
        **options: Any,
    ) -> None:
        check_mpi("PytreeAverager", comm)
        found: Facts | Exception = {}
        try:
            self._local = _local(params, select)
            paths, leaves, tree, model = _flatten("PytreeAverager", params, self._local)
            if not model:
                raise ValueError("PytreeAverager: no leaf of params is to be averaged; see select")
            ours = [leaf for path, leaf in zip(paths, leaves, strict=True) if path in model]
            self._shardings = {
                path: leaf.sharding for path, leaf in zip(model, ours, strict=True) if _is_spread(leaf)
            }
            self._backend = _backend(backend, ours)
            # Rank 0's values are written into the model, and views of jax.Arrays are read-only.
            start = Leaves(
                (path, _copy(model[path], leaf) if isinstance(model[path], np.ndarray) else leaf)
                for path, leaf in zip(model, ours, strict=True)
            )
        except Exception as error:
            found = error
        agree(comm, "PytreeAverager", found)
        self._averager = GroupAverager(comm, start, **options)
        self._structure = Structure("PytreeAverager", start)
        self._shapes = {path: (leaf.shape, leaf.dtype) for path, leaf in start.items()}
        self.backend = "callback" if self._backend == "callback" else "ffi"
        self._on_cpu = _platforms(ours) == {"cpu"}
        self._host_out: Leaves | None = None
        self._turn = threading.Lock()
        self._failure: BaseException | None = None
        self._numbers = {
            "average": xla_call.register(self._average_at, len(start)),
            "synchronize": xla_call.register(self._synchronize_at, len(start)),
        }
        _open.add(self)
        self.params = jax.tree_util.tree_unflatten(tree, _put(paths, leaves, start))

    def __call__(self, params: Params) -> Params:
        """Do one step: average with this step's group, or with all ranks at a multiple of sync_period.

        Args:
            params: of the structure, shapes and dtypes that the averager was made with.

        Returns:
            The average, in the same structure, as jax.Arrays.

        Raises:
            TypeError, ValueError: `params` is not like the params the averager was made with. The step does
                not count. At an eager synchronisation every rank raises it; inside jit it is raised when
                tracing, by this rank alone.
            SynchronizationTimeout, RuntimeError: as GroupAverager.average. From compiled code all that the
                step itself raises, Ctrl-C in a wait too, is an error of JAX's (JaxRuntimeError or ValueError)
                whose message holds its type and its text; `with averager:` turns it into itself again.

        Collective and blocking at a multiple of sync_period.
        """
        return self._step("average", params)

    def synchronize(self, params: Params) -> Params:
        """Do one step: give every rank the mean of all params, the same bits everywhere.

        Args, Returns, Raises: as a call.

        Collective, blocking: every rank must call it at the same step.
        """
        return self._step("synchronize", params)

    def _step(self, name: str, params: Params) -> Params:
        paths, leaves, tree, model = _flatten(name, params, self._local)
        ours = [leaf for path, leaf in zip(paths, leaves, strict=True) if path in model]
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in ours):
            # Compiled steps that were called before may still be running in other threads.
            jax.effects_barrier()
            results = _put(paths, leaves, self._eager(name, model, ours))
        else:
            compiled.check_where()
            self._structure.leaves(name, model)
            averages = dict(zip(model, self._traced(name, list(model), ours), strict=True))
            results = [averages.get(path, leaf) for path, leaf in zip(paths, leaves, strict=True)]
        return jax.tree_util.tree_unflatten(tree, results)  # type: ignore[no-any-return]

    def _eager(self, name: str, model: Leaves, leaves: list[Any]) -> Leaves:
        out = self._new_out()
        far = any(map(_is_far, leaves))
        if far:
            try:
                self._structure.leaves(name, model)
            except (TypeError, ValueError):
                far = False  # the averager will say so, on every rank if this is a synchronisation
        with self._turn:
            if not far:
                return getattr(self._averager, name)(model, out)  # type: ignore[no-any-return]
            # A leaf is published while the next is still on its way from the device.
            sources = [partial(np.ascontiguousarray, leaf) for leaf in leaves]
            getattr(self._averager, f"{name}_at")(sources, [leaf.ctypes.data for leaf in out.values()])
            return out

    def _traced(self, name: str, paths: list[str], leaves: list[Any]) -> list[Any]:
        """Put a step into the program that is being traced."""
        spread = [path for path, leaf in zip(paths, leaves, strict=True) if _is_spread(leaf)]
        if self._backend != "callback" and not spread:
            return compiled.call(self._numbers[name], leaves, chained=len(_open) > 1)
        if self._backend == "ffi":
            raise ValueError(
                f"{name}: backend='ffi' averages params on one device, and {spread[0]} is on several in this "
                "program; pass backend='auto', or compile for one device"
            )
        averages = compiled.call_back(lambda values: self._on_host(name, paths, values), leaves)
        return [
            compiled.laid_out_like(leaf, self._shardings.get(path), average)
            for path, leaf, average in zip(paths, leaves, averages, strict=True)
        ]

    def _on_host(self, name: str, paths: list[str], values: list[Array]) -> list[Array]:
        """Do a step for a host callback."""
        with self._turn, self._noting_failure():
            model = Leaves(zip(paths, values, strict=True))
            out = self._host_out or self._new_out()
            if self._on_cpu:
                # JAX copies it before it goes on; new memory would cost as much as a copy.
                self._host_out = out
            return list(getattr(self._averager, name)(model, out).values())

    def _new_out(self) -> Leaves:
        """Return memory for an average."""
        return Leaves((path, _empty(shape, dtype)) for path, (shape, dtype) in self._shapes.items())

    def _average_at(self, sources: list[int], targets: list[int]) -> None:
        with self._turn, self._noting_failure():
            self._averager.average_at(sources, targets)

    def _synchronize_at(self, sources: list[int], targets: list[int]) -> None:
        with self._turn, self._noting_failure():
            self._averager.synchronize_at(sources, targets)

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        """Keep what a compiled step raises, of which JAX keeps the text alone."""
        try:
            yield
        except BaseException as error:
            self._failure = error
            raise

    @property
    def step(self) -> int:
        """The last step that this rank has done. After compiled steps, block on their results."""
        return self._averager.step

    @property
    def timeout(self) -> float | None:
        """See GroupAverager.timeout."""
        return self._averager.timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._averager.timeout = seconds

    def state_dict(self) -> dict[str, int]:
        """Return what a checkpoint needs besides params; see GroupAverager.state_dict()."""
        return self._averager.state_dict()

    @property
    def report(self) -> Report:
        """The last step of this rank (at first, the start). After compiled steps, block on their results."""
        return self._averager.report

    @property
    def statistics(self) -> Statistics:
        """Sums over the steps that this rank has done. After compiled steps, block on their results."""
        return self._averager.statistics

    def close(self) -> None:
        """Wait for compiled steps, then free the windows. Collective, as GroupAverager.close()."""
        _await_programs()
        with self._turn:
            self._averager.close()
        _open.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            self.close()  # else the others may never come to it: see GroupAverager
        elif self._failure is not None:
            # JAX's own error has the text of what it comes from.
            failure, self._failure = self._failure, None
            if error is not failure and f"{type(failure).__name__}: {failure}".strip() in str(error):
                raise failure from error


_open: weakref.WeakSet[PytreeAverager] = weakref.WeakSet()  # and not closed


def _await_programs() -> None:
    """Wait for all compiled steps that may still be running, as far as anything holds their results."""
    jax.effects_barrier()
    for array in jax.live_arrays():
        # What is wrong with it is for those who use it.
        with contextlib.suppress(RuntimeError):
            array.block_until_ready()


# Steps under way must end before MPI does.
atexit.register(_await_programs)


def _backend(asked: str, leaves: list[Any]) -> str:
    """Return the backend, "auto" if it may still depend on the program. Local."""
    if asked not in ("auto", "ffi", "callback"):
        raise ValueError(f"PytreeAverager: backend={asked!r} is unknown; pass 'auto', 'ffi' or 'callback'")
    platforms = _platforms(leaves)
    if platforms == {"cpu"} and not any(map(_is_spread, leaves)):
        return asked
    if asked == "ffi":
        devices: list[Any] = [leaf.sharding.device_set for leaf in leaves if isinstance(leaf, jax.Array)]
        raise ValueError(
            "PytreeAverager: backend='ffi' averages params on one CPU device, and these are on "
            f"{max(map(len, devices), default=1)} of {' and '.join(sorted(platforms))}; pass backend='auto'"
        )
    return "callback"


def _platforms(leaves: list[Any]) -> set[str]:
    """Return the kinds of devices that leaves are on; where there are none, that of a program by default."""
    devices: list[Any] = [
        device for leaf in leaves if isinstance(leaf, jax.Array) for device in leaf.sharding.device_set
    ]
    return {device.platform for device in devices} or {jax.default_backend()}


def _is_spread(leaf: Any) -> bool:
    """Say whether a leaf is on several devices, as far as that is known: when tracing, if it has a mesh."""
    if isinstance(leaf, jax.core.Tracer):
        return bool(jax.typeof(leaf).sharding.mesh.size > 1)
    return isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1


def _empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return a new array that JAX will take without a copy."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(nbytes + LINE, np.uint8)
    begin = -memory.ctypes.data % LINE
    array: Array = memory[begin : begin + nbytes].view(dtype).reshape(shape)
    return array


def _copy(like: Array, leaf: Any) -> Array:
    copied = _empty(like.shape, like.dtype)
    copied[...] = leaf
    return copied


def _is_far(leaf: Any) -> bool:
    """Say whether a leaf is on an accelerator, so that it has to be copied from there."""
    return isinstance(leaf, jax.Array) and _platforms([leaf]) != {"cpu"}


def _put(paths: list[str], leaves: list[Any], values: Leaves) -> list[Any]:
    """Return the leaves, those of `values` as jax.Arrays of these, on the devices where they were."""
    ours = [leaf for path, leaf in zip(paths, leaves, strict=True) if path in values]
    shardings = [leaf.sharding if isinstance(leaf, jax.Array) else None for leaf in ours]
    put = iter(jax.device_put([values[path] for path in paths if path in values], shardings))
    return [next(put) if path in values else leaf for path, leaf in zip(paths, leaves, strict=True)]
