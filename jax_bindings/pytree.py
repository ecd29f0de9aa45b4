"""Average pytrees of arrays: the numpy averager, called eagerly or from inside jit."""

from collections.abc import Callable
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from mpi4py import MPI

from wagma_rma import GroupAverager, Report, Statistics
from wagma_rma.agreement import Facts, agree
from wagma_rma.averager import check_mpi
from wagma_rma.model import Array, Leaves, Structure

Params = TypeVar("Params")


def _host(leaf: Any) -> Any:
    """Return a leaf as the numpy array that JAX would make of it, or unchanged what can't be averaged."""
    if isinstance(leaf, jax.core.Tracer):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            return leaf
        return np.broadcast_to(np.empty((), leaf.dtype), leaf.shape)
    if isinstance(leaf, jax.Array) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return np.asarray(leaf)
    if isinstance(leaf, np.ndarray) and leaf.dtype == np.float64:
        return leaf.astype(jax.dtypes.canonicalize_dtype(np.float64), copy=False)
    return leaf


def _flatten(params: Any, local: frozenset[str]) -> tuple[list[str], list[Any], Any, Leaves]:
    """Return the leaves' paths, the leaves, their tree, and a numpy model of those that are not `local`.

    Its keys are their paths. Leaves of a trace have shape and dtype there, but no values.
    """
    found, tree = jax.tree_util.tree_flatten_with_path(params)
    paths, leaves = [jax.tree_util.keystr(path) for path, _ in found], [leaf for _, leaf in found]
    if len(set(paths)) < len(paths):
        raise ValueError("PytreeAverager: two leaves have the same path; give the nodes distinct keys")
    model = Leaves((path, _host(leaf)) for path, leaf in zip(paths, leaves, strict=True) if path not in local)
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


class PytreeAverager:
    """Average a pytree of arrays over small, changing groups of ranks, in or out of jit.

    `params = averager(params)` does one step: wagma_rma.GroupAverager says what a step is. Inside jit it is
    an ordered host callback: one step each time the compiled function runs, and in each turn of a lax loop.
    (Pass the params to the compiled function as arguments: constants would be averaged once, when tracing.)
    Eager calls and compiled ones share the averager and its steps, in the order of the program.

    Args:
        comm: the ranks, an mpi4py intracommunicator; they must share a host. It is duplicated.
        params: any pytree of jax.Arrays and numpy arrays of float32, float64, float16 or bfloat16; what the
            averager will be called with, and the start. Unlike GroupAverager's model it is not written to.
            All of its leaves are averaged unless `select` says otherwise.
        select: which leaves are averaged: a function of a leaf's path (a tuple of keys, as
            jax.tree_util.tree_map_with_path gives it) and the leaf, or a pytree of bools like `params`, in
            which one may stand for a whole subtree. It is asked once. The other leaves may be anything, such
            as integers or random keys, or be missing; a step returns them as they came. None: all.
        options: group_size, sync_period, quorum, patience, grouping, broadcast, start_step, timeout: as of
            GroupAverager.

    Attributes:
        params: the common start, rank 0's values (with broadcast=False: this rank's), as jax.Arrays;
            leaves that are not selected as they came.

    Raises (on every rank): as GroupAverager. Messages name leaves as jax.tree_util.keystr does.

    Making an averager is collective, and so is close().
    """

    params: Any

    def __init__(
        self,
        comm: MPI.Intracomm,
        params: Any,
        *,
        select: Callable[[tuple[Any, ...], Any], bool] | Any = None,
        **options: Any,
    ) -> None:
        check_mpi(comm)
        found: Facts | Exception = {}
        try:
            self._local = _local(params, select)
            paths, leaves, tree, model = _flatten(params, self._local)
            if not model:
                raise ValueError("PytreeAverager: no leaf of params is to be averaged; see select")
            # Rank 0's values are written into the model, and views of jax.Arrays are read-only.
            start = Leaves(
                (path, leaf.copy() if isinstance(leaf, np.ndarray) else leaf) for path, leaf in model.items()
            )
        except Exception as error:
            found = error
        agree(comm, "PytreeAverager", found)
        self._averager = GroupAverager(comm, start, **options)
        self._structure = Structure("PytreeAverager", start)
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
                step itself raises, Ctrl-C in a wait too, is a jax.errors.JaxRuntimeError whose message holds
                the traceback.

        Collective and blocking at a multiple of sync_period.
        """
        return self._step("average", self._averager.average, params)

    def synchronize(self, params: Params) -> Params:
        """Do one step: give every rank the mean of all params, the same bits everywhere.

        Args, Returns, Raises: as a call.

        Collective, blocking: every rank must call it at the same step.
        """
        return self._step("synchronize", self._averager.synchronize, params)

    def _step(self, name: str, step: Callable[[Leaves], Leaves], params: Params) -> Params:
        paths, leaves, tree, model = _flatten(params, self._local)
        ours = [leaf for path, leaf in zip(paths, leaves, strict=True) if path in model]
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in ours):
            # Compiled steps that were called before may still be running in other threads.
            jax.effects_barrier()  # type: ignore[no-untyped-call]
            results = _put(paths, leaves, step(model))
        else:
            self._structure.leaves(name, model)
            names = list(model)

            def on_host(*values: Any) -> list[Array]:
                # NumPy alone: JAX inside a callback can deadlock.
                return list(step(Leaves(zip(names, map(np.asarray, values), strict=True))).values())

            # Their shapes and dtypes are all that JAX takes from the values of a traced model.
            averages = iter(io_callback(on_host, list(model.values()), *ours, ordered=True))
            results = [
                next(averages) if path in model else leaf for path, leaf in zip(paths, leaves, strict=True)
            ]
        return jax.tree_util.tree_unflatten(tree, results)  # type: ignore[no-any-return]

    @property
    def step(self) -> int:
        """The last step that this rank has done. After compiled steps, block on their results."""
        return self._averager.step

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
        jax.effects_barrier()  # type: ignore[no-untyped-call]
        self._averager.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:  # else the others may never come to close: see GroupAverager
            self.close()


def _put(paths: list[str], leaves: list[Any], values: Leaves) -> list[Any]:
    """Return the leaves, those of `values` as jax.Arrays of these."""
    return [
        _like(leaf, values[path]) if path in values else leaf
        for path, leaf in zip(paths, leaves, strict=True)
    ]


def _like(leaf: Any, value: Array) -> jax.Array:
    """Return the value as a jax.Array, on the devices of `leaf` if that is one."""
    put: jax.Array = jax.device_put(value, leaf.sharding if isinstance(leaf, jax.Array) else None)
    return put
