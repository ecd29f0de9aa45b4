"""DiLoCo: local steps, and an outer optimizer's step on how far their mean went (Douillard et al., 2023)."""

import jax
import optax

from benchmarks.learning.methods.local import Local


class DiLoCo(Local):
    """Local SGD whose mean is the proposal of an outer optimizer, Nesterov's.

    Args:
        outer_rate, outer_momentum: of the outer optimizer; DiLoCo's are 0.7 and 0.9.
    """

    def __init__(self, *arguments, period=10, outer_rate=0.7, outer_momentum=0.9):
        super().__init__(*arguments, period=period)
        self.outer = optax.sgd(outer_rate, outer_momentum, nesterov=True)
        self.anchor = arguments[3]
        self.outer_state = self.outer.init(self.anchor)

    def synchronised(self, mean):
        gone = jax.tree.map(lambda start, end: start - end, self.anchor, mean)
        updates, self.outer_state = self.outer.update(gone, self.outer_state)
        self.anchor = optax.apply_updates(self.anchor, updates)
        return self.anchor
