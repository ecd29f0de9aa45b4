"""Virtual time: step times, costs, events in their order, and what a run counts."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from wagma_rma.planning.costs import Costs

Model = Any  # what a fleet takes for a model; None where only times are wanted


class NoModels:
    """A fleet for clocks alone: the models of all ranks, of which nothing is computed.

    A fleet that trains (benchmarks/learning/virtual) has the same methods.
    """

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self.models: list[Model] = [None] * ranks

    def begin(self, rank: int) -> None:
        """Have a rank begin with the gradient of its model as it is now."""

    def gradient(self, rank: int) -> Model:
        """Return the gradient that a rank has begun with."""

    def update(self, rank: int, factor: float, gradient: Model = None) -> None:
        """Perform a step of a rank's optimizer."""

    def average(self, models: list[Model], number: int | None = None) -> Model:
        """Return the sum of some models over their number, or over another one."""

    def mixed(self, average: Model, members: int, model: Model) -> Model:
        """Return the mean of so many models and of one more."""

    def moved(self, model: Model, average: Model, before: Model) -> Model:
        """Return a model with an average that has come late."""

    def average_states(self) -> None:
        """Give all ranks the mean of their optimizers' states."""

    def mean(self) -> Model:
        """Return the mean of all models."""


class World:
    """One run.

    Args:
        times: seconds that ranks compute before each of their steps, an array [ranks, calls]. A rank that
            makes more calls begins again with the first.
        steps: until the end.
        costs: of communication.
        fleet: the models; NoModels for times alone.
        every: steps from one point to the next.

    Attributes:
        now: the time of the event that is happening.
        points: what was reached when: dictionaries with "seconds" and "step", at least.
        waited: seconds that all ranks together have waited for others.
        gradients: computed by all ranks together.
        counts: what a method counts, by name.
    """

    def __init__(
        self,
        times: npt.NDArray[np.floating],
        steps: int,
        costs: Costs,
        fleet: Any,
        every: int = 20,
        seed: int = 0,
    ) -> None:
        self.times, self.steps, self.costs, self.fleet, self.every = times, steps, costs, fleet, every
        self.ranks, self.seed = len(times), seed
        self.now, self.waited, self.gradients = 0.0, 0.0, 0
        self.points: list[dict[str, Any]] = []
        self.counts: dict[str, float] = {}
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order, self._ended = itertools.count(), False

    # Steps.

    def seconds(self, rank: int, call: int) -> float:
        """Return how long a rank computes before its call of that number, from 0."""
        return float(self.times[rank, call % self.times.shape[1]])

    def column(self, call: int) -> npt.NDArray[np.floating]:
        """Return seconds() of all ranks, an array."""
        return self.times[:, call % self.times.shape[1]]

    def factor(self, done: int) -> float:
        """Return by what learning rates are multiplied after so many steps."""
        return 1.0

    def point(self, seconds: float, step: int) -> dict[str, Any]:
        """Return what is kept of a moment."""
        return {"seconds": float(seconds), "step": step}

    def reached(self, done: int, when: float | None = None) -> None:
        """Note that so many steps are done: a point, if it is time for one."""
        while done >= (len(self.points) + 1) * self.every:
            seconds = self.now if when is None else when
            self.points.append(self.point(seconds, (len(self.points) + 1) * self.every))

    # Events.

    def at(self, seconds: float, action: Callable[..., object], *arguments: Any) -> None:
        """Have an action happen at a time."""
        heapq.heappush(self._events, (seconds, next(self._order), action, arguments))

    def run(self) -> None:
        """Let events happen, in their order, until end()."""
        while not self._ended:
            self.now, _, action, arguments = heapq.heappop(self._events)
            action(*arguments)

    def end(self) -> None:
        """Let no more events happen."""
        self._ended = True

    def report(self) -> dict[str, Any]:
        """Return what real runs report too."""
        seconds = self.points[-1]["seconds"]
        return {
            "seconds": seconds,
            "waited": float(self.waited / (self.ranks * seconds)),
            "gradients": int(self.gradients),
            **self.counts,
        }
