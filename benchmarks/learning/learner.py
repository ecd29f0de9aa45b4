"""Gradients and updates of one model that is trained with several learning rates side by side.

Nothing about time depends on a learning rate, so one run serves a whole grid of them: each leaf of the params
has a first axis, the lanes, one for each rate. Optimizers work on single elements, so they need no other
change.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.learning.tasks import Task

WARM_UP, DECAY = 0.05, 0.3  # shares of all steps

OPTIMIZERS = {
    "plain": optax.identity,
    "momentum": lambda: optax.trace(0.9),
    "adam": lambda: optax.scale_by_adam(b2=0.99),
    "adamw": lambda: optax.chain(optax.scale_by_adam(b2=0.99), optax.add_decayed_weights(0.01)),
}


def factor(step, steps):
    """Return by what to multiply a learning rate: it warms up, is constant, and falls to 0 at the end."""
    return min(1.0, (step + 1) / (WARM_UP * steps), max(0.0, (steps - step) / (DECAY * steps)))


def scaled(rates):
    """Return an optax transformation that makes the updates of directions, by the rate of each lane.

    Its update() needs the argument `factor`, by which all rates are multiplied.
    """
    rates = jnp.asarray(rates, jnp.float32)

    def update(directions, state, params=None, *, factor, **_):
        def by_lane(direction):
            return -factor * rates.reshape(-1, *[1] * (direction.ndim - 1)) * direction

        return jax.tree.map(by_lane, directions), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


class Learner:
    """The jitted functions with which every method trains.

    Args:
        task: what to train.
        optimizer: a name of OPTIMIZERS.
        rates: the learning rates, one lane each.
    """

    def __init__(self, task: Task, optimizer: str, rates):
        self.task, self.rates = task, tuple(rates)
        self.optimizer = optax.chain(OPTIMIZERS[optimizer](), scaled(rates))
        of_lanes = jax.vmap(jax.grad(task.loss), (0, None))
        self.gradient = jax.jit(of_lanes)
        self.gradients = jax.jit(jax.vmap(of_lanes))
        self.update = jax.jit(self._update)
        self._evaluate = jax.jit(jax.vmap(task.loss_and_accuracy, (0, None)))

    def start(self, seed):
        """Return the params that all ranks start from: the same in each lane."""
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * len(self.rates)), self.task.init(seed))

    def _update(self, params, state, gradients, factor):
        """Return (params, state) after a step of the optimizer."""
        updates, state = self.optimizer.update(gradients, state, params, factor=factor)
        return optax.apply_updates(params, updates), state

    def evaluate(self, params, data):
        """Return an array [lanes, 2]: loss and accuracy."""
        return np.stack(self._evaluate(params, tuple(data)), 1)
