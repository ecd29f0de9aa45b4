"""What every method offers."""

import time

from benchmarks.learning.learner import factor


class Method:
    """One rank's part in one way to train.

    Args:
        comm: the ranks.
        learner: of the task.
        gradient: (params, batch) -> gradients, after the time that the rank computes.
        params: where all ranks start.
        steps: until the end of the schedule.

    Attributes:
        done: steps so far, as the method counts them: the schedule follows them, and a rank trains
            `while method.done < steps`.
        waited: seconds that this rank has waited for others.
        in_calls: seconds in communication, with these.
        report: what the method counts, by name.

    Making a method is collective, and so is close().
    """

    def __init__(self, comm, learner, gradient, params, steps):
        self.comm, self.learner, self.gradient, self.steps = comm, learner, gradient, steps
        self.state = learner.optimizer.init(params)
        self.done, self.waited, self.report = 0, 0.0, {}

    def step(self, params, batch):
        """Return the params after a step on this rank's batch."""
        raise NotImplementedError

    @property
    def in_calls(self):
        return self.waited

    def close(self):
        """Give back what the method holds. Collective."""

    def factor(self):
        """Return by what the learning rates are multiplied at this step."""
        return factor(self.done, self.steps)

    def updated(self, params, gradients):
        """Return the params after a step of this rank's optimizer."""
        params, self.state = self.learner.update(params, self.state, gradients, self.factor())
        return params

    def waiting(self):
        """Count the time of a `with` block, communication and all, as waited."""
        return _Waiting(self)


class _Waiting:
    def __init__(self, method):
        self.method = method

    def __enter__(self):
        self.began = time.monotonic()

    def __exit__(self, *_):
        self.method.waited += time.monotonic() - self.began
