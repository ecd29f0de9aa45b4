"""Allreduce-SGD: the mean of all ranks' gradients at each step."""

from benchmarks.learning.methods import messages
from benchmarks.learning.methods.method import Method


class Allreduce(Method):
    def step(self, params, batch):
        gradients = self.gradient(params, batch)
        with self.waiting():
            gradients = messages.mean(self.comm, gradients)
        params = self.updated(params, gradients)
        self.done += 1
        return params
