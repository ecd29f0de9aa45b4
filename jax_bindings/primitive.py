"""A step as an operation of JAX, with an effect: that of an ordered io_callback.

JAX then treats it as it treats such a callback. It keeps a step whose result nobody uses, and does not repeat
one where it computes something twice. It refuses programs in which it can't promise that. It hands a token
from each step of a program to the next one, through nested functions, branches and loops, and from one
program of a thread to its next; our call of XLA takes that token and returns one. So the steps of all
averagers keep the order of the program, at every rank.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NoReturn, TypeAlias

import jax
import numpy as np
from jax.experimental import io_callback
from jax.extend.core import ClosedJaxpr, Effect, Primitive, Token
from jax.interpreters import ad, batching, mlir

from jax_bindings import xla_call
from jax_bindings.leaves import OWN
from jax_bindings.packs import packing
from wagma_rma.bindings import Array

OnArrays: TypeAlias = Callable[[list[Array]], list[Array]]  # performs a step on numpy arrays

for platform in ("cpu", "CUDA"):
    for target, function in xla_call.targets(platform).items():
        jax.ffi.register_ffi_target(target, function, platform=platform)


def bind_step(
    leaves: Sequence[jax.Array], *, number: int = 0, on_arrays: OnArrays | None = None
) -> list[jax.Array]:
    """Put a step into the program that is being traced; return the averages.

    Args:
        number: the step's, of xla_call.register(), for a call of the FFI.
        on_arrays: performs the step, for a call of Python.
    """
    return list(_step_p.bind(*leaves, number=number, on_arrays=on_arrays, callback=_callback(True)))


def bind_difference(
    leaves: Sequence[tuple[tuple[int, ...], np.dtype[Any]]], *, after: jax.Array, number: int
) -> list[jax.Array]:
    """Put what the last group step has brought into the program that is being traced.

    Args:
        leaves: the shape and dtype of each leaf of a difference.
        after: a leaf of the model, which is made before.
        number: of xla_call.register().

    Returns:
        A flag, which is 0 if there is nothing, and the leaves of the difference.
    """
    avals = (((), np.dtype(np.uint8)), *leaves)
    return list(_difference_p.bind(after, avals=avals, number=number, callback=_callback(True)))


def bind_guard(leaves: Sequence[jax.Array]) -> list[jax.Array]:
    """Put a guard before a step on an accelerator: it refuses transformations that a step refuses."""
    return list(_guard_p.bind(*leaves))


def is_tracing() -> bool:
    """Return whether JAX is tracing a program here, whatever values its operations are given."""
    (number,) = _guard_p.bind(np.float32(0))
    return isinstance(number, jax.core.Tracer)


@cache
def _callback(ordered: bool) -> ClosedJaxpr:
    """Return a program with a callback; our steps have the effect of that callback.

    It is a parameter of the steps too: JAX tells the devices of a program only to operations that have a
    callback in them.
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
    # The unordered one makes JAX 0.10 call programs that are compiled ahead of time with their token.
    return frozenset({_order(), *_callback(False).effects})


_step_p = Primitive("wagma_step")
_step_p.multiple_results = True
_step_p.def_impl(lambda *leaves, **step: jax.jit(lambda *own: _step_p.bind(*own, **step))(*leaves))
_step_p.def_effectful_abstract_eval(lambda *leaves, **step: (list(leaves), set(_effects())))

# The guard returns its operands as they are. On accelerators a step is JAX's io_callback; the guard before it
# has our rules for transformations of a program.
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


# What a group step has brought, for a CUDA device to add: a flag, 0 or 1, and the leaves of the difference.
_difference_p = Primitive("wagma_difference")
_difference_p.multiple_results = True
_difference_p.def_impl(lambda after, **what: jax.jit(lambda leaf: _difference_p.bind(leaf, **what))(after))
_difference_p.def_effectful_abstract_eval(
    lambda after, *, avals, **what: ([jax.core.ShapedArray(*aval) for aval in avals], set(_effects()))
)

for primitive in (_step_p, _guard_p):
    ad.primitive_jvps[primitive] = _no_gradient
    batching.primitive_batchers[primitive] = _no_vmap


def _lower(
    context: mlir.LoweringRuleContext, *leaves: Any, number: int, on_arrays: OnArrays | None, callback: object
) -> Any:
    if on_arrays is None:
        _check_one_device(context)
    else:
        _check_own_devices(context)
    avals: Any = context.avals_in
    how = packing([(aval.shape, aval.dtype) for aval in avals], on_cpu=not _is_for_cuda(context))
    alone, packs = how.alone, how.packs
    operands = [leaves[i] for i in alone]
    operand_avals = [avals[i] for i in alone]
    for pack in packs:
        operand_avals.append(jax.core.ShapedArray((pack.nbytes,), np.dtype(np.uint8)))
        members, its_avals = [leaves[i] for i in pack.leaves], [avals[i] for i in pack.leaves]
        operands += _call(context, "wagma_rma_pack", members, its_avals, operand_avals[-1:])
    token: Any = context.tokens_in.get(_order())
    results: Any
    if on_arrays is None:
        # The token is the first operand, and the first result.
        all_avals = [jax.typeof(Token(None)), *operand_avals]
        token, *results = _call(
            context,
            "wagma_rma_step",
            [token, *operands],
            all_avals,
            all_avals,
            {"number": np.int64(number)},
            has_side_effect=True,
            operand_output_aliases={i: i for i in range(1, len(all_avals))},
        )
    else:
        results, token, _ = mlir.emit_python_callback(
            context.replace(avals_in=operand_avals, avals_out=operand_avals),
            lambda *values: tuple(on_arrays(list(values))),
            token,
            operands,
            operand_avals,
            operand_avals,
            has_side_effect=True,
        )
        _place_on_first(context, token)
    context.set_tokens_out(context.tokens_in.update_tokens(mlir.TokenSet({_order(): token})))
    averages = dict(zip(alone, results[: len(alone)], strict=True))
    for pack, result, aval in zip(packs, results[len(alone) :], operand_avals[len(alone) :], strict=True):
        its_avals = [avals[i] for i in pack.leaves]
        members = _call(context, "wagma_rma_unpack", [result], [aval], its_avals)
        averages.update(zip(pack.leaves, members, strict=True))
    return [averages[i] for i in range(len(leaves))]


def _lower_difference(context: mlir.LoweringRuleContext, after: Any, *, number: int, **what: object) -> Any:
    avals: Any = context.avals_out
    token_aval = jax.typeof(Token(None))
    token, *results = _call(
        context,
        "wagma_rma_step",
        [context.tokens_in.get(_order()), after],
        [token_aval, *context.avals_in],
        [token_aval, *avals],
        {"number": np.int64(number)},
        has_side_effect=True,
    )
    context.set_tokens_out(context.tokens_in.update_tokens(mlir.TokenSet({_order(): token})))
    return results


def _call(
    context: mlir.LoweringRuleContext,
    target: str,
    operands: list[Any],
    avals: list[Any],
    result_avals: list[Any],
    attributes: dict[str, Any] | None = None,
    **options: Any,
) -> list[Any]:
    """Put a call of the FFI into a program; return its results."""
    inner = context.replace(avals_in=avals, avals_out=result_avals)
    lower = jax.ffi.ffi_lowering(target, **options)
    results = list(lower(inner, *operands, **(attributes or {})))
    _place_on_first(context, results[0])
    return results


def _not_here(context: mlir.LoweringRuleContext, *leaves: Any, **step: object) -> NoReturn:
    raise ValueError(
        "average: the averager was made with params on CPUs, and this program is compiled for "
        f"{' and '.join(context.module_context.platforms)}; make it with params on the program's devices"
    )


def _lower_guard(context: mlir.LoweringRuleContext, *leaves: Any) -> Sequence[Any]:
    _check_own_devices(context)
    return leaves


mlir.register_lowering(_step_p, _lower, platform="cpu", cacheable=False)
mlir.register_lowering(_step_p, _lower, platform="cuda", cacheable=False)
mlir.register_lowering(_difference_p, _lower_difference, platform="cuda", cacheable=False)
mlir.register_lowering(_step_p, _not_here)
mlir.register_lowering(_guard_p, _lower_guard)


def _is_for_cuda(context: mlir.LoweringRuleContext) -> bool:
    return tuple(context.module_context.platforms) == ("cuda",)


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


def _place_on_first(context: mlir.LoweringRuleContext, result: Any) -> None:
    """Have the partitioner place a call, with the whole of its operands, on the first device of a program."""
    if _devices(context) == 1:
        return
    call = result.owner
    config: Any = jax.config
    if config.jax_use_shardy_partitioner:
        each = ", ".join(["<mesh<[], device_ids=[0]>, []>"] * len(call.results))
        call.attributes["sdy.sharding"] = mlir.ir.Attribute.parse(f"#sdy.sharding_per_value<[{each}]>")
    else:
        call.attributes["mhlo.sharding"] = mlir.ir.StringAttr.get("{maximal device=0}")
