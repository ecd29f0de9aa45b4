"""What the methods of virtual time have in common: step times, costs, models, events, and the curve."""

import heapq
import itertools

from benchmarks.learning import curves
from benchmarks.learning.learner import factor


class World:
    """One run.

    Args:
        times: seconds that ranks compute before each of their steps, an array [ranks, calls]. A rank that
            makes more calls begins again with the first.
        steps: until the end of the schedule.
        costs: of communication.
        fleet: the models; NoModels for times alone.
        every: steps from one point of the curve to the next.

    Attributes:
        now: the time of the event that is happening.
        points: see curves.
        waited: seconds that all ranks together have waited for others.
        gradients: computed by all ranks together.
        counts: what a method counts, by name.
    """

    def __init__(self, times, steps, costs, fleet, every=20, seed=0):
        self.times, self.steps, self.costs, self.fleet, self.every = times, steps, costs, fleet, every
        self.ranks, self.seed = len(times), seed
        self.now, self.waited, self.gradients = 0.0, 0.0, 0
        self.points, self.counts = [], {}
        self._events, self._order, self._ended = [], itertools.count(), False

    # Steps.

    def seconds(self, rank, call):
        """Return how long a rank computes before its call of that number, from 0."""
        return self.times[rank, call % self.times.shape[1]]

    def column(self, call):
        """Return seconds() of all ranks, an array."""
        return self.times[:, call % self.times.shape[1]]

    def factor(self, done):
        """Return by what learning rates are multiplied after so many steps."""
        return factor(done, self.steps)

    def reached(self, done, when=None):
        """Note that so many steps are done: a point of the curve, if it is time for one."""
        while done >= (len(self.points) + 1) * self.every:
            step, seconds = (len(self.points) + 1) * self.every, self.now if when is None else when
            if self.fleet.learner:
                self.points.append(curves.point(self.fleet.learner, seconds, step, self.fleet.mean()))
            else:
                self.points.append({"seconds": float(seconds), "step": step})

    # Events.

    def at(self, seconds, action, *arguments):
        """Have an action happen at a time."""
        heapq.heappush(self._events, (seconds, next(self._order), action, arguments))

    def run(self):
        """Let events happen, in their order, until end()."""
        while not self._ended:
            self.now, _, action, arguments = heapq.heappop(self._events)
            action(*arguments)

    def end(self):
        """Let no more events happen."""
        self._ended = True

    def report(self):
        """Return what real runs report too."""
        seconds = self.points[-1]["seconds"]
        return {
            "seconds": seconds,
            "waited": float(self.waited / (self.ranks * seconds)),
            "gradients": int(self.gradients),
            **self.counts,
        }
