"""Methods whose ranks perform the same steps in the same order: recurrences of their clocks.

Each is defined where its real ranks are, in benchmarks/learning/methods.
"""

import jax
import numpy as np
import optax


def _gradients(world, call):
    """Have all ranks compute a gradient."""
    for rank in range(world.ranks):
        world.fleet.begin(rank)
    world.gradients += world.ranks
    return world.column(call)


def allreduce(world):
    """Allreduce-SGD."""
    fleet = world.fleet
    for step in range(world.steps):
        ends = _gradients(world, step)
        world.waited += float(np.sum(ends.max() - ends))
        # One rank's optimizer does what all of them do.
        fleet.update(
            0, world.factor(step), fleet.average([fleet.gradient(rank) for rank in range(world.ranks)])
        )
        fleet.models = [fleet.models[0]] * world.ranks
        world.now += ends.max() + world.costs.allreduce(world.ranks)
        world.reached(step + 1)


def local(world, period=10, outer=None):
    """Local SGD; with `outer`, an optax optimizer of the mean, DiLoCo."""
    fleet, clocks = world.fleet, np.zeros(world.ranks)
    anchor = fleet.mean()
    outer_state = outer.init(anchor) if outer and anchor is not None else None
    for step in range(world.steps):
        clocks += _gradients(world, step)
        for rank in range(world.ranks):
            fleet.update(rank, world.factor(step))
        if (step + 1) % period == 0:
            world.waited += float(np.sum(clocks.max() - clocks))
            clocks[:] = clocks.max() + world.costs.allreduce(world.ranks)
            mean = fleet.mean()
            if outer_state is not None:
                updates, outer_state = outer.update(jax.tree.map(np.subtract, anchor, mean), outer_state)
                mean = anchor = np.asarray(optax.apply_updates(anchor, updates))
            fleet.models = [mean] * world.ranks
        world.reached(step + 1, clocks.max())


def diloco(world, period=10, outer_rate=0.7, outer_momentum=0.9):
    """DiLoCo."""
    local(world, period, optax.sgd(outer_rate, outer_momentum, nesterov=True))


def dpsgd(world):
    """D-PSGD: a step waits for the models with which both neighbours have begun it."""
    fleet, ranks = world.fleet, world.ranks
    neighbours = [sorted({(rank + hop) % ranks for hop in (-1, 0, 1)}) for rank in range(ranks)]
    begun = np.zeros(ranks)
    for step in range(world.steps):
        ends = begun + _gradients(world, step)
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
        ends = clocks + _gradients(world, step)
        for rank in range(ranks):
            fleet.update(rank, world.factor(step))
        hop = 1 << step % max(1, (ranks - 1).bit_length())
        clocks = np.maximum(ends, np.roll(ends, hop)) + world.costs.messages(1)
        world.waited += float(np.sum(np.roll(ends, hop).clip(ends) - ends))
        models = fleet.models
        fleet.models = [fleet.average([models[rank], models[rank - hop]]) for rank in range(ranks)]
        world.reached(step + 1, clocks.max())
