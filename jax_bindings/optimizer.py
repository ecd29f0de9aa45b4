"""Averaging as part of an optimizer, for training loops that are written with optax."""

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

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


@jax.tree_util.register_pytree_node_class
class Move:
    """An update that changes `start` into `end`, to the bit.

    The difference of two floats is not always a float: 1 + (0.3 - 1) is not 0.3 in float32. So an update
    whose result shall be an average holds both. Added to anything but `start` it is their difference.
    """

    __array_ufunc__ = None  # so that numpy array + Move calls __radd__

    def __init__(self, start: Leaf, end: Leaf) -> None:
        self.start = start
        self.end = end

    def __radd__(self, params: Leaf) -> jax.Array:
        return jnp.where(params == self.start, self.end, params + (self.end - self.start))

    def tree_flatten(self) -> tuple[tuple[Leaf, Leaf], None]:
        return (self.start, self.end), None

    @classmethod
    def tree_unflatten(cls, _: None, children: tuple[Leaf, Leaf]) -> "Move":
        return cls(*children)


def wagma(
    inner: "optax.GradientTransformation", averager: PytreeAverager, every: int = 1, *, moments: bool = False
) -> "optax.GradientTransformationExtraArgs":
    """Return an optax optimizer that does the inner one's update and then averages the parameters.

    optax.apply_updates(params, updates) then gives the same bits as the averager called with the parameters
    after the inner update. The inner optimizer may be chained, masked, scheduled, or accumulate gradients
    (optax.MultiSteps). wagma() must be the outermost: a transformation of its updates would change the
    average. Source: WAGMA-SGD, Li et al., IEEE TPDS 32(7), 2021, Algorithm 2.

    Args:
        inner: an optax.GradientTransformation.
        averager: made for the parameters (with `select`, for some of them); with `moments`, for the pair
            (params, inner.init(params)).
        every: updates from one step of the averager to the next. If `inner` is optax.MultiSteps(..., k),
            every=k averages after each update of the parameters, and not after the calls between.
        moments: average the inner optimizer's state too, as far as the averager selects it:
            PytreeAverager(comm, (params, inner.init(params)), select=floating) leaves out its counters.
            False: the state stays this rank's own.

    Returns:
        An optax.GradientTransformationExtraArgs. Its updates hold a Move for each leaf.

    Raises:
        ValueError: `every` is not a positive integer; or update() was called without `params`.
        All that the averager raises; update() raises it.

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
    import optax

    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ValueError(f"wagma: every={every!r} is not a positive integer")
    inner = optax.with_extra_args_support(inner)

    def init(params: "optax.Params") -> WagmaState:
        return WagmaState(inner.init(params), jnp.zeros((), jnp.int32))

    def update(
        updates: "optax.Updates", state: WagmaState, params: "optax.Params | None" = None, **extra: Any
    ) -> "tuple[optax.Updates, WagmaState]":
        if params is None:
            raise ValueError("wagma: update() averages parameters; call update(updates, state, params)")
        updates, inner_state = inner.update(updates, state.inner, params, **extra)
        own = optax.apply_updates(params, updates), inner_state
        since = (state.since + 1) % every
        if every == 1:
            averaged, inner_state = average(own)
        elif isinstance(since, jax.core.Tracer):
            averaged, inner_state = jax.lax.cond(since == 0, average, lambda own: own, own)
        else:
            averaged, inner_state = average(own) if since == 0 else own
        return jax.tree.map(Move, params, averaged), WagmaState(inner_state, since)

    def average(own: "tuple[optax.Params, optax.OptState]") -> "tuple[optax.Params, optax.OptState]":
        return averager(own) if moments else (averager(own[0]), own[1])

    return optax.GradientTransformationExtraArgs(init, update)
