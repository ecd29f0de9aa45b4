"""A step as a part of a compiled program: on CPUs a call of XLA's FFI, elsewhere an ordered host callback.

The FFI call gets XLA's own buffers and averages them in place. It has no effect that JAX knows of, since JAX
dispatches programs with effects ten times slower. XLA is told that the call has an effect, and does not drop,
merge or repeat it. The calls of one program are chained: each but the first takes one number of what the call
before it returned. Otherwise XLA might choose different orders at different ranks, and ranks that did the
steps of two averagers in different orders would wait for each other. Calls of different programs are ordered
by their data alone: each step's params come from the step before.
"""

import atexit
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import Sharding

from jax_bindings import xla_call
from jax_bindings.chain import Chain
from jax_bindings.leaves import devices_of, is_on_several_devices, platforms
from wagma_rma.bindings import Array

Backend: TypeAlias = Literal["auto", "ffi", "callback"]

TARGET = "wagma_rma_step"
jax.ffi.register_ffi_target(TARGET, xla_call.target(), platform="cpu")

_chain = Chain()


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
    """Average leaves by the FFI, after all steps that are already in the same trace.

    Args:
        number: the step's, of xla_call.register().
        leaves: traced.
    """
    operands = list(_guard_p.bind(*leaves))
    if not any(leaf.size for leaf in leaves):
        operands.append(jnp.zeros(1))  # a number for the next step to wait for
    results = _step_p.bind(*operands, *_chain.newest(), number=number, results=len(operands))
    _chain.add(next(result for result in results if result.size))
    # This equation holds what the chain needs as long as the trace is there.
    averages: list[jax.Array] = _guard_p.bind(*results)[: len(leaves)]
    return averages


def call_back(step: Callable[[list[Array]], list[Array]], leaves: Sequence[jax.Array]) -> list[jax.Array]:
    """Average leaves by an ordered host callback, which gets and returns numpy arrays."""
    results = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    # It uses numpy alone: JAX inside a callback can deadlock.
    return list(
        io_callback(
            lambda *values: step(list(map(np.asarray, values))),
            results,
            *_guard_p.bind(*leaves),
            ordered=True,
        )
    )


def laid_out_like(leaf: jax.Array, sharding: Sharding | None, average: jax.Array) -> jax.Array:
    """Return an average that came from a host callback on the devices where its leaf is in this program.

    Args:
        sharding: what the average gets where the program does not know its leaf's; None: replicated.
    """
    known = jax.typeof(leaf).sharding
    if known.mesh.size <= 1:  # 0: no mesh
        return average
    if any(kind == jax.sharding.AxisType.Explicit for kind in known.mesh.axis_types):
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


def await_programs() -> None:
    """Wait for all compiled steps that may still be running, as far as anything holds their results."""
    jax.effects_barrier()
    for array in jax.live_arrays():
        # An error in it is raised where it is used.
        with contextlib.suppress(RuntimeError):
            array.block_until_ready()


# Steps under way must end before MPI is finalised.
atexit.register(await_programs)


# The operands as they are; what stands for the averager where JAX transforms a program.
_guard_p = Primitive("wagma_params")
_guard_p.multiple_results = True
_guard_p.def_impl(lambda *operands: list(operands))
_guard_p.def_abstract_eval(lambda *operands: list(operands))
mlir.register_lowering(_guard_p, lambda _, *operands: operands)

# A step, which puts its results where its first operands are. Further operands only order it.
_step_p = Primitive("wagma_step")
_step_p.multiple_results = True
_step_p.def_impl(lambda *operands, **step: jax.jit(lambda *own: _step_p.bind(*own, **step))(*operands))
_step_p.def_abstract_eval(lambda *operands, number, results: list(operands[:results]))


def _no_gradient(operands: object, tangents: object) -> NoReturn:
    raise TypeError(
        "average: the averager has no gradient, since an average depends on other ranks; differentiate the "
        "loss first, then average the params that the update leads to"
    )


def _no_vmap(operands: object, axes: object) -> NoReturn:
    raise TypeError(
        "average: the averager can't be mapped by vmap, since a step averages all params of a rank; call it "
        "outside, on the params with their mapped axis"
    )


ad.primitive_jvps[_guard_p] = _no_gradient
batching.primitive_batchers[_guard_p] = _no_vmap


def _lower(context: mlir.LoweringRuleContext, *operands: Any, number: int, results: int) -> Any:
    axes = context.module_context.axis_context
    devices = axes.num_devices if isinstance(axes, mlir.ShardingContext) else 1
    if devices > 1:
        raise ValueError(
            f"average: the averager was made with params on one device, and this program runs on {devices}; "
            "make it with params on all of them, or with backend='callback'"
        )
    in_place = {i: i for i in range(results)}
    lower = jax.ffi.ffi_lowering(TARGET, has_side_effect=True, operand_output_aliases=in_place)
    return lower(context, *operands, number=np.int64(number))


def _not_here(context: mlir.LoweringRuleContext, *operands: Any, number: int, results: int) -> NoReturn:
    raise ValueError(
        "average: the averager was made with params on CPUs, and this program is compiled for "
        f"{' and '.join(context.module_context.platforms)}; make it with params on the program's devices, or "
        "with backend='callback'"
    )


mlir.register_lowering(_step_p, _lower, platform="cpu")
mlir.register_lowering(_step_p, _not_here)
