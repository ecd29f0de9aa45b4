"""Averaging as part of an optimizer, for training loops that are written with optax."""

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jax_bindings.pytree import PytreeAverager

if TYPE_CHECKING:
    import optax

Leaf: TypeAlias = jax.Array | np.ndarray  # a leaf of params


class WagmaState(NamedTuple):
    """The state of wagma()."""

    inner: "optax.OptState"
    """The state of the inner optimizer."""
    since: jax.Array
    """The number of updates since the averager's last step."""


def wagma(
    inner: "optax.GradientTransformation",
    averager: PytreeAverager,
    every: int = 1,
    *,
    moments: bool | Literal["synchronize"] = False,
) -> "optax.GradientTransformationExtraArgs":
    """Return an optax optimizer that does the inner one's update and then averages the parameters.

    optax.apply_updates(params, updates) then gives the average of what the inner updates would have led to.
    The inner optimizer may be chained, masked, scheduled, or accumulate gradients (optax.MultiSteps). The
    updates are arrays, as any optimizer's: their norm is that of the whole move, and a transformation behind
    wagma() may look at them. One that changes them, such as clipping, changes the average too; put what is
    meant for the rank's own update into `inner`. Source: WAGMA-SGD, Li et al., IEEE TPDS 32(7), 2021,
    Algorithm 2.

    An update is the average less the params; of 16-bit params it is float32. Added to the params it gives the
    average to the bit where the average is within a factor of two of the params, since the difference of such
    floats is a float; and for 16-bit params nearly everywhere else. Other float32 numbers may differ from the
    average by the last bit of the params: of normally distributed params that ranks change by 1 % of their
    size, 0.4 % do, and of 16-bit ones less than one in 100,000. Where all ranks must have the same bits, call
    the averager on the params that the inner updates lead to, in place of wagma().

    If ranks skip steps (the averager's sync_quorum), the inner optimizer counts the updates that this rank
    has performed, so its schedules differ by rank: let a schedule follow averager.step instead.

    Args:
        inner: an optax.GradientTransformation.
        averager: made for the parameters (with `select`, for some of them); with `moments`, for the pair
            (params, inner.init(params)).
        every: updates from one step of the averager to the next. If `inner` is optax.MultiSteps(..., k),
            every=k averages after each update of the parameters, and not after the calls between.
        moments: average the inner optimizer's state too, as far as the averager selects it:
            PytreeAverager(comm, (params, inner.init(params)), select=floating) leaves out its counters.
            "synchronize": at synchronisations only, which is better where ranks are late; the averager needs
            select_synchronized=(False, True) for that. True: at each step. False: the state stays this
            rank's own.

    Returns:
        An optax.GradientTransformationExtraArgs.

    Raises:
        ImportError: optax is not installed.
        TypeError: `inner` is no optimizer, or `averager` no PytreeAverager.
        ValueError: `every` is not a positive integer, `moments` is unknown, or "synchronize" and the averager
            would average params at synchronisations only, or the state in groups; or update() was called
            without `params`.
        update() also raises all that the averager raises.

    This call is local. Its update() is a step of the averager: collective and blocking at a synchronisation.

    Example, on each of two ranks:
        >>> import optax
        >>> from mpi4py import MPI
        >>> comm = MPI.COMM_WORLD
        >>> params, gradient = jnp.zeros(2), jnp.full(2, -1.0 - comm.rank)
        >>> with PytreeAverager(comm, params, group_size=2, quorum=2) as averager:
        ...     optimizer = wagma(optax.sgd(1.0), averager)
        ...     updates, state = optimizer.update(gradient, optimizer.init(params), params)
        >>> optax.apply_updates(params, updates)
        Array([1.5, 1.5], dtype=float32)
    """
    try:
        import optax
    except ModuleNotFoundError as error:
        raise ImportError("wagma: needs optax; run: pip install 'wagma-rma[jax]'") from error
    if not hasattr(inner, "update"):
        raise TypeError(f"wagma: inner is a {type(inner).__name__}; pass an optax optimizer and an averager")
    if not callable(averager):
        raise TypeError(f"wagma: averager is a {type(averager).__name__}; pass a PytreeAverager")
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ValueError(f"wagma: every={every!r} is not a positive integer")
    _check_moments(moments, averager)
    inner = optax.with_extra_args_support(inner)

    def init(params: "optax.Params") -> WagmaState:
        return WagmaState(inner.init(params), jnp.zeros((), jnp.int32))

    def update(
        updates: "optax.Updates", state: WagmaState, params: "optax.Params | None" = None, **extra: Any
    ) -> "tuple[optax.Updates, WagmaState]":
        if params is None:
            raise ValueError("wagma: update() averages parameters; call update(updates, state, params)")
        own, inner_state = inner.update(updates, state.inner, params, **extra)
        since = (state.since + 1) % every
        average = partial(averaged, params)
        if every == 1:
            updates, inner_state = average(own, inner_state)
        elif isinstance(since, jax.core.Tracer):
            updates, inner_state = jax.lax.cond(since == 0, average, partial(alone, params), own, inner_state)
        elif since == 0:
            updates, inner_state = average(own, inner_state)
        else:
            updates, inner_state = alone(params, own, inner_state)
        return updates, WagmaState(inner_state, since)

    def averaged(
        params: "optax.Params", own: "optax.Updates", state: "optax.OptState"
    ) -> "tuple[optax.Updates, optax.OptState]":
        """Return the updates that lead to the average, and the inner state after it."""
        moved = optax.apply_updates(params, own)
        if moments:
            average, state = averager((moved, state))
        else:
            average = averager(moved)
        # A leaf that is not averaged comes back as it is.
        updates = jax.tree.map(
            lambda p, u, m, a: widened(p, u) if a is m else difference(p, a), params, own, moved, average
        )
        return updates, state

    def alone(
        params: "optax.Params", own: "optax.Updates", state: "optax.OptState"
    ) -> "tuple[optax.Updates, optax.OptState]":
        """Return the inner optimizer's own updates, as arrays of the dtypes that averaged() returns."""
        return jax.tree.map(widened, params, own), state

    return optax.GradientTransformationExtraArgs(init, update)


def _check_moments(moments: object, averager: PytreeAverager) -> None:
    """Check how the inner optimizer's state is averaged, and that the averager does it."""
    if moments in (True, False):
        return
    if moments != "synchronize":
        raise ValueError(f"wagma: moments={moments!r} is unknown; pass False, True or 'synchronize'")
    wrong = [
        *(f"model{path} is averaged in groups" for path in averager.in_groups if not path.startswith("[0]")),
        *(f"model{path} is not" for path in averager.synchronized if not path.startswith("[1]")),
        *(["no state is averaged"] if not averager.synchronized else []),
    ]
    if wrong:
        raise ValueError(
            "wagma: moments='synchronize' needs an averager of params in groups and of the state at "
            f"synchronisations only, and {min(wrong)}; make it by PytreeAverager(comm, (params, "
            "inner.init(params)), select=floating, select_synchronized=(False, True))"
        )


def difference(start: Leaf, end: Leaf) -> jax.Array:
    """Return the update that leads from `start` to `end`, so that their sum is as near to `end` as can be."""
    return jnp.subtract(widened(start, end), start)


def widened(param: Leaf, update: Leaf) -> jax.Array:
    """Return an update of a leaf: for a leaf of floats in the leaf's own dtype, but in float32 at least."""
    if not jnp.issubdtype(param.dtype, jnp.floating):
        return jnp.asarray(update)
    return jnp.asarray(update, jnp.promote_types(param.dtype, jnp.float32))
