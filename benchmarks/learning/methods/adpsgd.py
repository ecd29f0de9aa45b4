"""AD-PSGD: each rank averages with one other that it draws, whenever it is ready (Lian et al., ICML 2018).

A step computes the gradient of the model as it was at its beginning, averages the rank's and the other's
model, both at once, and applies the gradient to the average. Ranks have their models in memory that all
share, so no rank has to answer. `done` counts the gradients of all ranks, over the ranks.
"""

import numpy as np

from benchmarks.learning.methods import messages
from benchmarks.learning.methods.method import Method
from benchmarks.learning.methods.shared import Shared


class ADPSGD(Method):
    def __init__(self, comm, learner, gradient, params, steps, seed=0):
        super().__init__(comm, learner, gradient, params, steps)
        self.random = np.random.default_rng([seed, comm.rank, 2])
        own, self.tree_of = messages.vector(params)
        self.shared = Shared(comm, own.size)
        self.shared.vectors[comm.rank][:] = own
        comm.Barrier()

    def step(self, params, batch):
        me, models = self.comm.rank, self.shared.vectors
        gradients = self.gradient(params, batch)
        with self.waiting():
            if self.comm.size > 1:
                other = (me + 1 + self.random.integers(self.comm.size - 1)) % self.comm.size
                with self.shared.locked(me, other):
                    models[me][:] = (models[me] + models[other]) / 2
                    models[other][:] = models[me]
            with self.shared.locked(me):
                average = models[me].copy()
        updated, _ = messages.vector(self.updated(self.tree_of(average), gradients))
        with self.waiting():
            # Others may have averaged with this model meanwhile.
            with self.shared.locked(me):
                models[me][:] += updated - average
                params = self.tree_of(models[me].copy())
            with self.shared.counting():
                self.shared.counter[0] += 1
                self.done = self.shared.counter[0] / self.comm.size
        return params

    def close(self):
        self.shared.close()
