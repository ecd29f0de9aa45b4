"""Methods whose ranks perform the same steps in the same order: recurrences of their clocks.

Each is defined where its real ranks are, in benchmarks/learning/methods.
"""

import jax
import numpy as np
import optax

from wagma_rma.planning.synchronous import begin_gradients, local


def diloco(world, period=10, outer_rate=0.7, outer_momentum=0.9):
    """DiLoCo: an optimizer of the mean."""
    optimizer, state = optax.sgd(outer_rate, outer_momentum, nesterov=True), None

    def outer(anchor, mean):
        nonlocal state
        if anchor is None:  # times alone
            return None
        if state is None:
            state = optimizer.init(anchor)
        updates, state = optimizer.update(jax.tree.map(np.subtract, anchor, mean), state)
        return np.asarray(optax.apply_updates(anchor, updates))

    local(world, period, outer)


def dpsgd(world):
    """D-PSGD: a step waits for the models with which both neighbours have begun it."""
    fleet, ranks = world.fleet, world.ranks
    neighbours = [sorted({(rank + hop) % ranks for hop in (-1, 0, 1)}) for rank in range(ranks)]
    begun = np.zeros(ranks)
    for step in range(world.steps):
        ends = begun + begin_gradients(world, step)
        there = begun + world.costs.messages(2)
        ready = np.array([max(ends[rank], there[near].max()) for rank, near in enumerate(neighbours)])
        world.waited += float(np.sum(ready - ends))
        gradients = [fleet.gradient(rank) for rank in range(ranks)]
        fleet.models = [fleet.average([fleet.models[rank] for rank in near]) for near in neighbours]
        for rank in range(ranks):
            fleet.update(rank, world.factor(step), gradients[rank])
        begun = ready
        world.reached(step + 1, begun.max())


def sgp(world):
    """SGP. All weights stay 1, since each rank sends and receives one message a step."""
    fleet, ranks = world.fleet, world.ranks
    clocks = np.zeros(ranks)
    for step in range(world.steps):
        ends = clocks + begin_gradients(world, step)
        for rank in range(ranks):
            fleet.update(rank, world.factor(step))
        hop = 1 << step % max(1, (ranks - 1).bit_length())
        clocks = np.maximum(ends, np.roll(ends, hop)) + world.costs.messages(1)
        world.waited += float(np.sum(np.roll(ends, hop).clip(ends) - ends))
        models = fleet.models
        fleet.models = [fleet.average([models[rank], models[rank - hop]]) for rank in range(ranks)]
        world.reached(step + 1, clocks.max())
