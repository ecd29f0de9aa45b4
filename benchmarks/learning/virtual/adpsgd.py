"""AD-PSGD in virtual time; benchmarks/learning/methods/adpsgd.py defines it.

Communication is hidden: a rank averages while it computes its next gradient, and computes no faster than
that. No rank waits for another that is being averaged with.
"""

import numpy as np


def adpsgd(world):
    """AD-PSGD."""
    fleet, ranks = world.fleet, world.ranks
    random = np.random.default_rng([world.seed, 2])
    pair = world.costs.messages(1)

    def begin(rank, call):
        fleet.begin(rank)
        world.at(world.now + max(world.seconds(rank, call), pair), end, rank, call)

    def end(rank, call):
        gradient = fleet.gradient(rank)
        if ranks > 1:
            other = (rank + 1 + random.integers(ranks - 1)) % ranks
            fleet.models[rank] = fleet.models[other] = fleet.average(
                [fleet.models[rank], fleet.models[other]]
            )
        fleet.update(rank, world.factor(world.gradients / ranks), gradient)
        world.gradients += 1
        world.reached(world.gradients / ranks)
        if world.gradients >= ranks * world.steps:
            world.end()
        begin(rank, call + 1)

    for rank in range(ranks):
        begin(rank, 0)
    world.run()
