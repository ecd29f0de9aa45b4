"""A step as a part of a compiled program: on CPUs a call of XLA's FFI, elsewhere an ordered host callback.

The FFI call gets XLA's own buffers and averages them in place. It has no effect that JAX knows of, since JAX
dispatches programs with effects ten times slower; XLA is told that it has one, and neither drops nor merges
nor repeats it. What orders calls is then their data: each step's params come from the step before. Calls of
several averagers in one program are chained by a token besides, since ranks that came to these in different
orders would wait for each other.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jax.extend.core import Primitive, get_opaque_trace_state
from jax.interpreters import ad, batching, mlir

from jax_bindings import xla_call
from wagma_rma.model.structure import Array

TARGET = "wagma_rma_step"
jax.ffi.register_ffi_target(TARGET, xla_call.target(), platform="cpu")

# The newest call of a program with several averagers: its trace, and the token that it leaves.
_newest: tuple[Any, Any] = (None, None)


def call(number: int, leaves: Sequence[Any], chained: bool) -> list[Any]:
    """Average leaves by the FFI.

    Args:
        number: the step's, of xla_call.register().
        leaves: traced.
        chained: whether this call has to come after the one before in the same trace.
    """
    global _newest
    guarded = _guard_p.bind(*leaves)
    if not chained:
        averages: list[Any] = _step_p.bind(*guarded, number=number)
        return averages
    trace = get_opaque_trace_state()
    token = _newest[1] if _newest[0] == trace else jnp.zeros((), jnp.uint32)
    *averages, token = _step_p.bind(*guarded, token, number=number)
    _newest = trace, token
    return averages


def call_back(step: Callable[[list[Array]], list[Array]], leaves: Sequence[Any]) -> list[Any]:
    """Average leaves by an ordered host callback, which gets and returns numpy arrays."""
    results = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    # NumPy alone in it: JAX inside a callback can deadlock.
    return list(
        io_callback(
            lambda *values: step(list(map(np.asarray, values))),
            results,
            *_guard_p.bind(*leaves),
            ordered=True,
        )
    )


def laid_out_like(leaf: Any, sharding: Any, average: Any) -> Any:
    """Return an average that came from a host callback on the devices where its leaf is in this program.

    Args:
        sharding: the one to come back with where the program does not know it; None: replicated.
    """
    known = jax.typeof(leaf).sharding
    if known.mesh.size <= 1:  # 0: no mesh
        return average
    if any(kind == jax.sharding.AxisType.Explicit for kind in known.mesh.axis_types):
        return jax.sharding.reshard(average, known)
    replicated = jax.sharding.NamedSharding(known.mesh, jax.sharding.PartitionSpec())
    return jax.lax.with_sharding_constraint(average, sharding or replicated)


def check_where() -> None:
    """Check that the place in the program that is being traced may average. Local."""
    axes = jax.sharding.get_abstract_mesh().manual_axes
    if axes:
        raise ValueError(
            f"average: called in a shard_map over {', '.join(map(repr, axes))}, where each device would do a "
            "step of its own; call the averager outside, on the whole params: a process is one rank"
        )


# The operands as they are; what stands for the averager where JAX transforms a program.
_guard_p = Primitive("wagma_params")
_guard_p.multiple_results = True
_guard_p.def_impl(lambda *leaves: list(leaves))
_guard_p.def_abstract_eval(lambda *leaves: list(leaves))
mlir.register_lowering(_guard_p, lambda _, *leaves: leaves)

# A step. Operands and results are the leaves and, behind them, the token of a chain if there is one.
_step_p = Primitive("wagma_step")
_step_p.multiple_results = True
_step_p.def_impl(lambda *leaves, number: jax.jit(lambda *own: _step_p.bind(*own, number=number))(*leaves))
_step_p.def_abstract_eval(lambda *leaves, number: list(leaves))


def _no_gradient(leaves: Any, tangents: Any) -> Any:
    raise TypeError(
        "average: the averager has no gradient, since an average depends on other ranks; differentiate the "
        "loss first, then average the params that the update leads to"
    )


def _no_vmap(leaves: Any, axes: Any) -> Any:
    raise TypeError(
        "average: the averager can't be mapped by vmap, since a step averages all params of a rank; call it "
        "outside, on the params with their mapped axis"
    )


ad.primitive_jvps[_guard_p] = _no_gradient
batching.primitive_batchers[_guard_p] = _no_vmap


def _lower(context: Any, *leaves: Any, number: int) -> Any:
    axes = context.module_context.axis_context
    devices = axes.num_devices if isinstance(axes, mlir.ShardingContext) else 1
    if devices > 1:
        raise ValueError(
            f"average: the averager was made with params on one device, and this program runs on {devices}; "
            "make it with params on all of them, or with backend='callback'"
        )
    in_place = {i: i for i in range(len(leaves))}
    lower = jax.ffi.ffi_lowering(TARGET, has_side_effect=True, operand_output_aliases=in_place)
    return lower(context, *leaves, number=np.int64(number))


def _not_here(context: Any, *leaves: Any, number: int) -> Any:
    raise ValueError(
        "average: the averager was made with params on CPUs, and this program is compiled for "
        f"{' and '.join(context.module_context.platforms)}; make it with params on the program's devices, or "
        "with backend='callback'"
    )


mlir.register_lowering(_step_p, _lower, platform="cpu")
mlir.register_lowering(_step_p, _not_here)
