"""D-PSGD: at each step the average with both neighbours on a ring of ranks (Lian et al., NeurIPS 2017).

The models before the step are averaged, so they travel while the gradient is computed. The average gets the
gradient of the rank's own model (Algorithm 1).
"""

import numpy as np

from benchmarks.learning.methods import messages
from benchmarks.learning.methods.method import Method


class DPSGD(Method):
    def step(self, params, batch):
        own, tree_of = messages.vector(params)
        neighbours = sorted({(self.comm.rank - 1) % self.comm.size, (self.comm.rank + 1) % self.comm.size})
        neighbours = [rank for rank in neighbours if rank != self.comm.rank]
        theirs = [np.empty_like(own) for _ in neighbours]
        requests = [self.comm.Irecv(model, rank) for model, rank in zip(theirs, neighbours, strict=True)]
        requests += [self.comm.Isend(own, rank) for rank in neighbours]
        gradients = self.gradient(params, batch)
        with self.waiting():
            messages.wait(requests)
        average = sum(theirs, own) / np.float32(1 + len(theirs))
        params = self.updated(tree_of(average), gradients)
        self.done += 1
        return params
