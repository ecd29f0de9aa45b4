"""A step as a part of a compiled program: on CPUs a call of XLA, elsewhere a host callback of JAX.

A step is an operation of JAX with an effect: that of an ordered io_callback. JAX then does with it as with
such a callback. It keeps a step whose result nobody uses, and does not repeat one where it computes something
twice. It refuses programs in which it can't promise that. It hands a token from each step of a program to the
next one, through nested functions, branches and loops, and from one program of a thread to its next. So the
steps of all averagers keep the order of the program, at every rank.

On CPUs a step is an operation of our own, whose call of XLA takes that token and returns one. For params on
accelerators it is JAX's io_callback itself.
"""

import atexit
import contextlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, NoReturn, TypeAlias

import jax
import numpy as np
from jax.experimental import io_callback
from jax.extend.core import ClosedJaxpr, Effect, Primitive, Token
from jax.interpreters import ad, batching, mlir
from jax.sharding import Sharding

from jax_bindings import xla_call
from jax_bindings.leaves import OWN, devices_of, is_on_several_devices, platforms
from wagma_rma.bindings import Array

Backend: TypeAlias = Literal["auto", "ffi", "callback"]
OnArrays: TypeAlias = Callable[[list[Array]], list[Array]]  # performs a step on numpy arrays

TARGET = "wagma_rma_step"
jax.ffi.register_ffi_target(TARGET, xla_call.target(), platform="cpu")


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
    return list(_step_p.bind(*leaves, number=number, on_arrays=None, callback=_callback(True)))


def call_back(on_arrays: OnArrays, leaves: Sequence[jax.Array], *, on_cpu: bool) -> list[jax.Array]:
    """Average leaves by an ordered callback to the host.

    Args:
        on_arrays: performs the step. The same object for all steps of an averager, as JAX compares it.
        on_cpu: whether the program will run on CPUs.
    """
    if on_cpu:
        return list(_step_p.bind(*leaves, number=0, on_arrays=on_arrays, callback=_callback(True)))
    results = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    # It uses numpy alone: JAX inside a callback can deadlock.
    return list(
        io_callback(
            lambda *values: on_arrays(list(map(np.asarray, values))),
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


def await_steps() -> None:
    """Wait for the compiled steps that this thread has called. What they raise is raised where it is used."""
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


@cache
def _callback(ordered: bool) -> ClosedJaxpr:
    """Return a program with a callback, whose effect is one of our steps'.

    It is a parameter of theirs too: JAX tells the devices of a program only to what has a callback in it.
    """
    number = jax.ShapeDtypeStruct((), np.float32)
    return jax.make_jaxpr(lambda x: io_callback(lambda x: x, number, x, ordered=ordered))(number)


@cache
def _order() -> Effect:
    """Return the effect for which JAX hands a token from one step to the next."""
    effect: Effect = next(iter(_callback(True).effects))
    return effect


@cache
def _effects() -> frozenset[Effect]:
    # The other one makes JAX 0.10 call programs that are compiled ahead of time with their token.
    return frozenset({_order(), *_callback(False).effects})


# A step on CPUs. `on_arrays` performs it; None: a call of the FFI, of this number.
_step_p = Primitive("wagma_step")
_step_p.multiple_results = True
_step_p.def_impl(lambda *leaves, **step: jax.jit(lambda *own: _step_p.bind(*own, **step))(*leaves))
_step_p.def_effectful_abstract_eval(lambda *leaves, **step: (list(leaves), set(_effects())))

# The operands as they are; what stands for a step on accelerators where JAX transforms a program.
_guard_p = Primitive("wagma_params")
_guard_p.multiple_results = True
_guard_p.def_impl(lambda *operands: list(operands))
_guard_p.def_abstract_eval(lambda *operands: list(operands))


def _no_gradient(operands: object, tangents: object, **step: object) -> NoReturn:
    raise TypeError(
        "average: the averager has no gradient, since an average depends on other ranks; differentiate the "
        "loss first, then average the params that the update leads to"
    )


def _no_vmap(operands: object, axes: object, **step: object) -> NoReturn:
    raise TypeError(
        "average: the averager can't be mapped by vmap, since a step averages all params of a rank; call it "
        "outside, on the params with their mapped axis"
    )


for primitive in (_step_p, _guard_p):
    ad.primitive_jvps[primitive] = _no_gradient
    batching.primitive_batchers[primitive] = _no_vmap


def _lower(
    context: mlir.LoweringRuleContext, *leaves: Any, number: int, on_arrays: OnArrays | None, callback: object
) -> Any:
    token: Any = context.tokens_in.get(_order())
    averages: Any
    if on_arrays is None:
        _check_one_device(context)
        # The token is the first operand, and the first result.
        kind = jax.typeof(Token(None))
        inner = context.replace(avals_in=[kind, *context.avals_in], avals_out=[kind, *context.avals_out])
        in_place = {i: i for i in range(1, len(leaves) + 1)}
        lower = jax.ffi.ffi_lowering(TARGET, has_side_effect=True, operand_output_aliases=in_place)
        token, *averages = lower(inner, token, *leaves, number=np.int64(number))
    else:
        _check_own_devices(context)
        operands: Any = context.avals_in
        averages, token, _ = mlir.emit_python_callback(
            context,
            lambda *values: tuple(on_arrays(list(values))),
            token,
            list(leaves),
            operands,
            context.avals_out,
            has_side_effect=True,
        )
        if _devices(context) > 1:
            _place_on_first(token.owner)
    context.set_tokens_out(context.tokens_in.update_tokens(mlir.TokenSet({_order(): token})))
    return averages


def _not_here(context: mlir.LoweringRuleContext, *leaves: Any, **step: object) -> NoReturn:
    raise ValueError(
        "average: the averager was made with params on CPUs, and this program is compiled for "
        f"{' and '.join(context.module_context.platforms)}; make it with params on the program's devices"
    )


def _lower_guard(context: mlir.LoweringRuleContext, *leaves: Any) -> Sequence[Any]:
    _check_own_devices(context)
    return leaves


mlir.register_lowering(_step_p, _lower, platform="cpu", cacheable=False)
mlir.register_lowering(_step_p, _not_here)
mlir.register_lowering(_guard_p, _lower_guard)


def _devices(context: mlir.LoweringRuleContext) -> int:
    axes = context.module_context.axis_context
    return axes.num_devices if isinstance(axes, mlir.ShardingContext) else 1


def _check_one_device(context: mlir.LoweringRuleContext) -> None:
    _check_own_devices(context)
    if _devices(context) > 1:
        raise ValueError(
            "average: the averager was made with params on one device, and this program runs on "
            f"{_devices(context)}; make it with params on all of them, or with backend='callback'"
        )


def _check_own_devices(context: mlir.LoweringRuleContext) -> None:
    axes = context.module_context.axis_context
    devices = getattr(axes, "device_assignment", None) or ()
    if any(device.process_index != jax.process_index() for device in devices):
        raise ValueError(
            f"average: params are spread over devices of other processes too, as this program is; {OWN}"
        )


def _place_on_first(call: Any) -> None:
    """Have the partitioner place a call, with the whole of its operands, on the first device of a program."""
    config: Any = jax.config
    if config.jax_use_shardy_partitioner:
        each = ", ".join(["<mesh<[], device_ids=[0]>, []>"] * len(call.results))
        call.attributes["sdy.sharding"] = mlir.ir.Attribute.parse(f"#sdy.sharding_per_value<[{each}]>")
    else:
        call.attributes["mhlo.sharding"] = mlir.ir.StringAttr.get("{maximal device=0}")
