"""eager-SGD: the sum of the gradients that are there; a late one is in a later sum (Li et al., PPoPP 2020).

In each round the gradients that ranks have left since the last one are summed, over the number of all ranks.
Solo: the first rank to come performs the round. Majority: a rank that is drawn for the round does, and those
who came before wait for it. A rank that comes when a round is over leaves its gradient and goes on at once.

In the paper a rank that is late by several rounds sees the last result alone, so models drift apart and are
synchronised now and then. Here it takes the newest model, which is better: models never differ. `done` counts
rounds.
"""

import numpy as np

from benchmarks.learning.methods import messages
from benchmarks.learning.methods.method import Method
from benchmarks.learning.methods.shared import Shared


class Eager(Method):
    """Args: majority: wait for the rank that is drawn, instead of the first one."""

    def __init__(self, comm, learner, gradient, params, steps, majority=False, seed=0):
        super().__init__(comm, learner, gradient, params, steps)
        self.majority, self.seed = majority, seed
        common, self.tree_of = messages.vector((params, self.state))
        self.sum, self.gradient_of = messages.vector(params)
        # Each rank's gradients; behind those of rank 0 the model that all have, and its optimizer's state.
        self.shared = Shared(comm, self.sum.size + common.size * (comm.rank == 0))
        self.left = [of_rank[: self.sum.size] for of_rank in self.shared.vectors]
        self.common = self.shared.vectors[0][self.sum.size :]
        if comm.rank == 0:
            self.common[:] = common
        comm.Barrier()

    def step(self, params, batch):
        gradients, _ = messages.vector(self.gradient(params, batch))
        with self.waiting():
            with self.shared.counting():
                self.left[self.comm.rank][:] += gradients
                late = self.shared.counter[0] > self.done
                if not late and self.performs(self.done):
                    self.perform()
            for _ in messages.pauses():
                with self.shared.counting():
                    if self.shared.counter[0] > self.done:
                        self.done = int(self.shared.counter[0])
                        params, _ = self.tree_of(self.common.copy())
                        break
        return params

    def performs(self, round):
        """Return whether this rank performs the round."""
        return not self.majority or self.comm.rank == initiator(self.seed, round, self.comm.size)

    def perform(self):
        """Sum what ranks have left, and update the model that all have."""
        self.sum[:] = 0
        for gradients in self.left:
            self.sum += gradients
            gradients[:] = 0
        params, self.state = self.tree_of(self.common.copy())
        params = self.updated(params, self.gradient_of(self.sum / self.comm.size))
        self.common[:], _ = messages.vector((params, self.state))
        self.shared.counter[0] += 1

    def close(self):
        self.left, self.common = [], None
        self.shared.close()


def initiator(seed, round, ranks):
    """Return the rank that performs a round of the majority: the same at every rank."""
    return int(np.random.default_rng([seed, round, 3]).integers(ranks))
