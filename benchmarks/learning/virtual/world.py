"""A world in which models learn: rates have a schedule, and points say what the mean model has reached."""

from benchmarks.learning import curves
from benchmarks.learning.learner import factor
from wagma_rma.planning import world


class World(world.World):
    """One run; see wagma_rma.planning.world.World."""

    def factor(self, done):
        return factor(done, self.steps)

    def point(self, seconds, step):
        if not self.fleet.learner:
            return super().point(seconds, step)
        return curves.point(self.fleet.learner, seconds, step, self.fleet.mean())
