"""Steps in compiled programs: how a program calls an averager, where it may, and the wait for its end.

On CPUs a step is an operation of our own (`primitive`): a call of XLA's FFI, or of Python. For params on
accelerators it is JAX's ordered io_callback.
"""

import atexit
import contextlib
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import jax
import numpy as np
from jax.experimental import io_callback
from jax.sharding import Sharding

from jax_bindings.leaves import devices_of, is_on_several_devices, platforms
from jax_bindings.primitive import OnArrays, bind_guard, bind_step

Backend: TypeAlias = Literal["auto", "ffi", "callback"]


def choose_backend(asked: Backend, leaves: list[Any]) -> Backend:
    """Return how programs call an averager of these leaves; "auto": that depends on the program. Local.

    Raises:
        ValueError: there is no such backend, or it can't average these leaves.
    """
    if asked not in ("auto", "ffi", "callback"):
        raise ValueError(f"PytreeAverager: backend={asked!r} is unknown; pass 'auto', 'ffi' or 'callback'")
    found = platforms(leaves)
    if found == {"cpu"} and not any(map(is_on_several_devices, leaves)):
        return asked
    if asked == "ffi":
        most = max((len(devices_of(leaf)) for leaf in leaves), default=1)
        raise ValueError(
            "PytreeAverager: backend='ffi' averages params on one CPU device, and these are on "
            f"{max(most, 1)} of {' and '.join(sorted(found))}; pass backend='auto'"
        )
    return "callback"


def call(number: int, leaves: Sequence[jax.Array]) -> list[jax.Array]:
    """Average leaves where they lie, by the FFI.

    Args:
        number: the step's, of xla_call.register().
        leaves: traced.
    """
    return bind_step(leaves, number=number)


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


def await_steps() -> None:
    """Wait for the compiled steps that this thread has called.

    An error of a step is raised where its result is used.
    """
    with contextlib.suppress(Exception):
        jax.effects_barrier()


def await_programs() -> None:
    """Wait for all compiled steps that may still be running, as far as anything holds their results."""
    await_steps()
    for array in jax.live_arrays():
        # An error in it is raised where it is used.
        with contextlib.suppress(RuntimeError):
            array.block_until_ready()


# Steps under way must end before MPI is finalised.
atexit.register(await_programs)
