"""Averaging as part of an optimizer, for training loops that are written with optax."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_bindings.pytree import PytreeAverager


class WagmaState(NamedTuple):
    """The state of wagma(): that of the inner optimizer, and the updates since the averager's last step."""

    inner: Any
    since: jax.Array


@jax.tree_util.register_pytree_node_class
class Move:
    """An update that takes `start` to `end`, to the bit.

    The difference of two floats is not always a float: 1 + (0.3 - 1) is not 0.3 in float32. So an update that
    shall end at an average holds both. Added to something else than `start` it is their difference.
    """

    __array_ufunc__ = None  # a numpy array leaves its sum with this to __radd__

    def __init__(self, start: Any, end: Any) -> None:
        self.start = start
        self.end = end

    def __radd__(self, params: Any) -> jax.Array:
        return jnp.where(params == self.start, self.end, params + (self.end - self.start))

    def tree_flatten(self) -> tuple[tuple[Any, Any], None]:
        return (self.start, self.end), None

    @classmethod
    def tree_unflatten(cls, _: None, children: tuple[Any, Any]) -> "Move":
        return cls(*children)


def wagma(inner: Any, averager: PytreeAverager, every: int = 1, *, moments: bool = False) -> Any:
    """Return an optax optimizer that does the inner one's update and then averages the parameters.

    optax.apply_updates(params, updates) then gives the bits of the averager called with the parameters that
    the inner update leads to. The inner optimizer may be chained, masked, scheduled, or accumulate
    gradients (optax.MultiSteps); wagma() belongs outermost, since what comes behind it would change the
    average. Source: WAGMA-SGD, Li et al., IEEE TPDS 32(7), 2021, Algorithm 2.

    Args:
        inner: an optax.GradientTransformation.
        averager: made for the parameters (with `select`, for some of them); with `moments`, for the pair
            (params, inner.init(params)).
        every: updates from one step of the averager to the next; with optax.MultiSteps(..., k) inside, k
            averages after each true update and not between.
        moments: average the inner optimizer's state too, as far as the averager selects it:
            PytreeAverager(comm, (params, inner.init(params)), select=floating) leaves out its counters.
            False: it stays this rank's own.

    Returns:
        An optax.GradientTransformationExtraArgs. Its updates hold a Move for each leaf.

    Raises:
        ValueError: `every` is not a positive integer; or, by update(), `params` was not given.
        All that the averager raises, by update().

    Making it is local; update() is an averager's step: collective and blocking at a synchronisation.

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

    def init(params: Any) -> WagmaState:
        return WagmaState(inner.init(params), jnp.zeros((), jnp.int32))

    def update(updates: Any, state: WagmaState, params: Any = None, **extra: Any) -> tuple[Any, WagmaState]:
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

    def average(own: tuple[Any, Any]) -> tuple[Any, Any]:
        return averager(own) if moments else (averager(own[0]), own[1])

    return optax.GradientTransformationExtraArgs(init, update)
