"""WAGMA-SGD by wagma_rma: groups average models at each step, and wait for no late rank."""

import jax
import optax

from benchmarks.learning.methods.method import Method
from jax_bindings import PytreeAverager, floating, wagma
from wagma_rma.bindings import choose_grouping


class Wagma(Method):
    """WAGMA-SGD.

    Args:
        moments: "synchronize" has synchronisations average the optimizer's state too.
        majority: wait for more than half of a group.
        options: the averager's.
    """

    def __init__(self, comm, learner, gradient, params, steps, moments=False, majority=False, **options):
        super().__init__(comm, learner, gradient, params, steps)
        if majority:
            size = choose_grouping(comm.size, options.get("group_size")).size
            options["quorum"] = size // 2 + 1
        averaged = params
        if moments:
            averaged = params, self.state
            options |= {"select": floating, "select_synchronized": (False, True)}
        self.averager = PytreeAverager(comm, averaged, **options)
        optimizer = wagma(learner.optimizer, self.averager, moments=moments)
        self.state = optimizer.init(params)

        @jax.jit
        def update(params, state, gradients, factor):
            updates, state = optimizer.update(gradients, state, params, factor=factor)
            return optax.apply_updates(params, updates), state

        # Compiled before the first step, no rank looks slow.
        zeros = jax.tree.map(jax.numpy.zeros_like, params)
        self.update = update.lower(params, self.state, zeros, 0.0).compile()

    def step(self, params, batch):
        gradients = self.gradient(params, batch)
        params, self.state = self.update(params, self.state, gradients, self.factor())
        jax.block_until_ready(params)
        self.done = self.averager.step
        totals = self.averager.statistics
        self.waited = totals.seconds_waited
        self.report = {
            "fresh": totals.fresh,
            "late": totals.late,
            "missed": totals.missed,
            "skipped": totals.skipped,
        }
        return params

    @property
    def in_calls(self):
        return self.averager.statistics.seconds

    def close(self):
        self.averager.close()
