"""SGP: push-sum on a directed exponential graph (Assran et al., ICML 2019, Algorithm 1).

At step k a rank keeps half of its model x and of its weight w, and sends the other halves to the rank 2^k
ahead. It trains x / w. All ranks send and receive one message a step, so weights that begin at 1 stay there;
others are corrected for.
"""

import numpy as np

from benchmarks.learning.methods import messages
from benchmarks.learning.methods.method import Method


class SGP(Method):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.weight = 1.0

    def step(self, params, batch):
        """Take and return x / w."""
        params = self.updated(params, self.gradient(params, batch))
        ranks = self.comm.size
        hop = 1 << self.done % max(1, (ranks - 1).bit_length())
        self.done += 1
        if ranks == 1:
            return params
        debiased, tree_of = messages.vector(params)
        half = np.append(debiased * np.float32(self.weight), np.float32(self.weight)) / 2
        received = np.empty_like(half)
        with self.waiting():
            messages.wait([
                self.comm.Irecv(received, (self.comm.rank - hop) % ranks),
                self.comm.Isend(half, (self.comm.rank + hop) % ranks),
            ])  # fmt: skip
        mixed = half + received
        self.weight = float(mixed[-1])
        return tree_of(mixed[:-1] / mixed[-1])
