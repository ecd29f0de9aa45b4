"""Steps in compiled programs: how a program calls an averager, where it may, and the wait for its end.

On CPUs a step is an operation of our own (`primitive`): a call of XLA's FFI, or of Python. For params on
accelerators it is JAX's ordered io_callback; on one CUDA device it may be a call of the FFI too.
"""

import atexit
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jax.sharding import Sharding

from jax_bindings.leaves import are_cuda, devices_of, is_on_several_devices, platforms
from jax_bindings.primitive import OnArrays, bind_difference, bind_guard, bind_step
from wagma_rma.bindings import CudaDriver, CudaError

logger = logging.getLogger("wagma_rma")

Backend: TypeAlias = Literal["auto", "ffi", "callback"]

CUDA_BY_DEFAULT = False  # whether "auto" is the FFI on a CUDA device: not before it has run on one


def choose_backend(asked: Backend, leaves: list[Any]) -> Backend:
    """Return how programs call an averager of these leaves; "auto": that depends on the program. Local.

    On a CUDA device "auto" falls back to the callback, with a warning, if the driver's library can't be used.

    Raises:
        ValueError: there is no such backend, or it can't average these leaves.
        CudaError: "ffi" on a CUDA device, and the driver's library can't be used.
    """
    if asked not in ("auto", "ffi", "callback"):
        raise ValueError(f"PytreeAverager: backend={asked!r} is unknown; pass 'auto', 'ffi' or 'callback'")
    found = platforms(leaves)
    several = any(map(is_on_several_devices, leaves))
    if found == {"cpu"} and not several:
        return asked
    wanted = asked == "ffi" or (asked == "auto" and CUDA_BY_DEFAULT)
    if wanted and found == {"gpu"} and not several and are_cuda(leaves):
        return _choose_on_cuda(asked)
    if asked == "ffi":
        most = max((len(devices_of(leaf)) for leaf in leaves), default=1)
        raise ValueError(
            "PytreeAverager: backend='ffi' averages params on one CPU or CUDA device, and these are on "
            f"{max(most, 1)} of {' and '.join(sorted(found))}; pass backend='auto'"
        )
    return "callback"


def _choose_on_cuda(asked: Backend) -> Backend:
    """Return how programs call an averager of leaves on one CUDA device, which may want the FFI."""
    try:
        CudaDriver()
    except CudaError as error:
        if asked == "ffi":
            raise CudaError(f"PytreeAverager: backend='ffi': {error}; pass backend='callback'") from error
        logger.warning(
            "PytreeAverager: params are copied by callbacks of JAX, which takes longer: %s; pass "
            "backend='callback' to choose that",
            error,
        )
        return "callback"
    return "ffi"


class Moves(NamedTuple):
    """How leaves on a device are moved before a step, by what the group step before has brought."""

    number: int
    """HostSteps.difference_number."""
    in_groups: tuple[bool, ...]
    """Which leaves group steps average."""


def call(number: int, leaves: Sequence[jax.Array], moves: Moves | None = None) -> list[jax.Array]:
    """Average leaves where they lie, by the FFI.

    Args:
        number: the step's, of xla_call.register().
        leaves: traced.
        moves: what the device adds before that, with overlap; None: nothing.
    """
    return bind_step(_moved(leaves, moves) if moves else leaves, number=number)


def program(number: int, moves: Moves | None) -> Callable[[list[Any]], list[jax.Array]]:
    """Return a compiled program that does nothing but call()."""
    compiled: Callable[[list[Any]], list[jax.Array]] = jax.jit(lambda leaves: call(number, leaves, moves))
    return compiled


def _moved(leaves: Sequence[jax.Array], moves: Moves) -> list[jax.Array]:
    """Add to leaves what the last group step has brought, as GroupAverager.average() has it."""
    dtypes = [jnp.promote_types(leaf.dtype, jnp.float32) for leaf in leaves]
    moving = [i for i, in_group in enumerate(moves.in_groups) if in_group]
    # All leaves are made before, and as they are stored: XLA may compute 16-bit floats with more precision.
    leaves = jax.lax.optimization_barrier(list(leaves))
    shapes = [(leaves[i].shape, dtypes[i]) for i in moving]
    after = min((leaves[i] for i in moving), key=lambda leaf: leaf.size)
    found, *differences = bind_difference(shapes, after=after, number=moves.number)
    moved = list(leaves)
    for i, difference in zip(moving, differences, strict=True):
        leaf = leaves[i]
        # Not `leaf + 0` where there is no difference: that is another number than -0.
        new = (leaf.astype(dtypes[i]) + difference).astype(leaf.dtype)
        moved[i] = jnp.where(found != 0, new, leaf)
    return moved


def call_back(on_arrays: OnArrays, leaves: Sequence[jax.Array], *, on_cpu: bool) -> list[jax.Array]:
    """Average leaves by an ordered callback to the host.

    Args:
        on_arrays: performs the step. The same object for all steps of an averager, as JAX compares it.
        on_cpu: whether the program will run on CPUs.
    """
    if on_cpu:
        return bind_step(leaves, on_arrays=on_arrays)
    results = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    # It uses numpy alone: JAX inside a callback can deadlock.
    return list(
        io_callback(
            lambda *values: on_arrays(list(map(np.asarray, values))),
            results,
            *bind_guard(leaves),
            ordered=True,
        )
    )


def laid_out_like(leaf: jax.Array, sharding: Sharding | None, average: jax.Array) -> jax.Array:
    """Return an average that came from a host callback on the devices where its leaf is in this program.

    Args:
        sharding: the average's where the program does not know that of its leaf; None: replicated.
    """
    known = jax.typeof(leaf).sharding
    if known.mesh.size <= 1:  # 0: no mesh
        return average
    if any(axis_type == jax.sharding.AxisType.Explicit for axis_type in known.mesh.axis_types):
        resharded: jax.Array = jax.sharding.reshard(average, known)
        return resharded
    replicated = jax.sharding.NamedSharding(known.mesh, jax.sharding.PartitionSpec())
    constrained: jax.Array = jax.lax.with_sharding_constraint(average, sharding or replicated)
    return constrained


def check_where() -> None:
    """Check that the place in the program that is being traced may average. Local."""
    axes = jax.sharding.get_abstract_mesh().manual_axes
    if axes:
        raise ValueError(
            f"average: called in a shard_map over {', '.join(map(repr, axes))}, where each device would do a "
            "step of its own; call the averager outside, on the whole params: a process is one rank"
        )


def await_steps() -> bool:
    """Wait for the compiled steps that this thread has called; return whether all have succeeded.

    An error of a step is raised where its result is used. JAX (0.10) then fails all steps that this thread
    calls later, since each of them takes the token of the one before.
    """
    try:
        jax.effects_barrier()
    except Exception:
        return False
    return True


def await_programs() -> None:
    """Wait for all compiled steps that may still be running, as far as anything holds their results."""
    await_steps()
    for array in jax.live_arrays():
        # An error in it is raised where it is used.
        with contextlib.suppress(RuntimeError):
            array.block_until_ready()


# Steps under way must end before MPI is finalised.
atexit.register(await_programs)
