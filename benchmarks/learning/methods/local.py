"""Local SGD: ranks train alone, and average their models at every `period`-th step (Stich, ICLR 2019)."""

from benchmarks.learning.methods import messages
from benchmarks.learning.methods.method import Method


class Local(Method):
    def __init__(self, *arguments, period=10):
        super().__init__(*arguments)
        self.period = period

    def step(self, params, batch):
        params = self.updated(params, self.gradient(params, batch))
        self.done += 1
        if self.done % self.period == 0:
            with self.waiting():
                params = messages.mean(self.comm, params)
            params = self.synchronised(params)
        return params

    def synchronised(self, mean):
        """Return the params that all ranks go on with, from the mean of their models."""
        return mean
