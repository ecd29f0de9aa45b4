"""Each method of benchmarks.learning.methods, on a task whose result is known."""

import time

import jax.numpy as jnp
import numpy as np

from benchmarks.learning.learner import Learner
from benchmarks.learning.methods import METHODS
from tests.learning.quadratic import RATE, Quadratic, start


def made(comm, name, gradient, own=False, **options):
    """Return (method, params) of this rank, whose rates have no schedule.

    Args:
        own: start each rank at a place of its own.
    """
    learner = Learner(Quadratic(comm.size), "plain", [RATE])
    params = jnp.asarray(start(comm.rank if own else 0))
    method = METHODS[name](comm, learner, gradient or learner.gradient, params, 1000, **options)
    method.factor = lambda: 1.0
    return method, params


def trained(comm, name, steps, performer_last=False, **options):
    """Return this rank's params after each of some steps, all ranks together at each.

    Args:
        performer_last: of eager-SGD's ranks the one that performs the round comes last.
    """
    method, params = made(comm, name, None, **options)
    after = []
    for _ in range(steps):
        comm.Barrier()
        if performer_last and method.performs(method.done):
            time.sleep(0.1)
        params = method.step(params, method.learner.task.train.batch([comm.rank]))
        after.append(np.asarray(params)[0].tolist())
    method.close()
    return after


def mixed(comm, name, steps, weights=None, **options):
    """Return this rank's params before and after steps without gradients, from places of its own."""

    def no_gradient(params, batch):
        return jnp.zeros_like(params)

    method, params = made(comm, name, no_gradient, own=True, **options)
    if weights:
        method.weight = weights[comm.rank]
    while method.done < steps:
        params = method.step(params, None)
    comm.Barrier()
    if name == "ad-psgd":
        params = method.tree_of(method.shared.vectors[comm.rank].copy())
        comm.Barrier()
    method.close()
    return np.asarray(start(comm.rank))[0].tolist(), np.asarray(params)[0].tolist()


def summed(comm, name, rounds, seconds, **options):
    """Count gradients: each is 1. Return (this rank's, those left behind, how far the model went, rounds).

    Args:
        seconds: that each rank computes.
    """
    computed = 0

    def one(params, batch):
        nonlocal computed
        computed += 1
        time.sleep(seconds[comm.rank])
        return jnp.ones_like(params)

    method, params = made(comm, name, one, **options)
    comm.Barrier()
    while method.done < rounds:
        params = method.step(params, None)
    comm.Barrier()
    left = float(method.left[comm.rank][0])
    gone = float((start(0) - np.asarray(method.tree_of(method.common.copy())[0]))[0, 0]) / RATE
    comm.Barrier()
    method.close()
    return computed, left, gone, int(method.done)
