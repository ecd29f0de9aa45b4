"""One run in virtual time."""

import functools

from benchmarks.learning import curves
from benchmarks.learning.learner import Learner
from benchmarks.learning.tasks import TASKS
from benchmarks.learning.virtual.fleet import Fleet, NoModels, flat
from benchmarks.learning.virtual.methods import METHODS
from benchmarks.learning.virtual.world import World


@functools.cache
def learner_of(task, optimizer, rates):
    """Return a learner by names and a tuple of rates: always the same one, so its functions compile once."""
    return Learner(flat(TASKS[task]()), optimizer, rates)


def train(learner, name, times, steps, costs, *, seed=0, batch_size=16, dirichlet=None, every=20, **options):
    """Train in virtual time; return the run.

    Args:
        learner: of a flat task; None computes times alone.
        name: of METHODS.
        times: seconds that ranks compute, an array [ranks, calls].
        options: of the method.
    """
    ranks = len(times)
    fleet = Fleet(learner, ranks, seed, batch_size, dirichlet) if learner else NoModels(ranks)
    world = World(times, steps, costs, fleet, every, seed)
    METHODS[name](world, **options)
    asked = {"method": name, "seed": seed, "steps": steps, "batch_size": batch_size, "dirichlet": dirichlet}
    return curves.run(learner, ranks, world.points, world.report(), **asked)


def steps_within(seconds, name, times, costs, every=20, **options):
    """Return how many steps, a multiple of `every`, a method performs in so many seconds."""
    steps = every
    while True:
        points = train(None, name, times, steps, costs, every=every, **options)["points"]
        done = [point for point in points if point["seconds"] <= seconds]
        if len(done) < len(points):
            return max(every, len(done) * every)
        steps *= 2
