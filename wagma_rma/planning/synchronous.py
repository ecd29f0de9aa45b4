"""Methods in which all ranks wait for the slowest, at each step or at every so many: recurrences."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from wagma_rma.planning.world import Model, World


def begin_gradients(world: World, call: int) -> npt.NDArray[np.floating]:
    """Have all ranks compute a gradient; return how long each takes."""
    for rank in range(world.ranks):
        world.fleet.begin(rank)
    world.gradients += world.ranks
    return world.column(call)


def allreduce(world: World) -> None:
    """Allreduce-SGD."""
    fleet = world.fleet
    for step in range(world.steps):
        ends = begin_gradients(world, step)
        world.waited += float(np.sum(ends.max() - ends))
        # One rank's optimizer does what all of them do.
        fleet.update(
            0, world.factor(step), fleet.average([fleet.gradient(rank) for rank in range(world.ranks)])
        )
        fleet.models = [fleet.models[0]] * world.ranks
        world.now += ends.max() + world.costs.allreduce(world.ranks)
        world.reached(step + 1)


def local(world: World, period: int = 10, outer: Callable[[Model, Model], Model] | None = None) -> None:
    """Local SGD.

    Args:
        period: steps from one mean to the next.
        outer: returns the model with which all go on, from the one before and the mean; None: the mean.
    """
    fleet, clocks = world.fleet, np.zeros(world.ranks)
    anchor = fleet.mean()
    for step in range(world.steps):
        clocks += begin_gradients(world, step)
        for rank in range(world.ranks):
            fleet.update(rank, world.factor(step))
        if (step + 1) % period == 0:
            world.waited += float(np.sum(clocks.max() - clocks))
            clocks[:] = clocks.max() + world.costs.allreduce(world.ranks)
            anchor = outer(anchor, fleet.mean()) if outer is not None else fleet.mean()
            fleet.models = [anchor] * world.ranks
        world.reached(step + 1, clocks.max())
