"""What the methods send: trees of arrays as one vector; and waits that leave the core to other ranks."""

import time

import jax
import numpy as np
from mpi4py import MPI

SHORTEST, LONGEST = 20e-6, 200e-6  # seconds between two looks; an allreduce takes a few


def pauses():
    """Yield in a loop that waits: at first at once, then after pauses that become longer."""
    pause = SHORTEST
    yield
    while True:
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)
        yield


def wait(requests):
    """Complete the requests. MPI's own wait would keep a core busy that a late rank needs."""
    for _ in pauses():
        if MPI.Request.Testall(requests):
            return


def vector(tree):
    """Return (a float32 vector that may be written to, a function that makes such a tree of one).

    It is numpy's: JAX would compile a program for each leaf at the first call.
    """
    leaves, structure = jax.tree.flatten(tree)
    leaves = [np.asarray(leaf) for leaf in leaves]
    ends = np.cumsum([leaf.size for leaf in leaves])

    def tree_of(flat):
        parts = zip(np.split(flat, ends[:-1]), leaves, strict=True)
        return jax.tree.unflatten(
            structure, [part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in parts]
        )

    return np.concatenate([np.ravel(leaf).astype(np.float32) for leaf in leaves]), tree_of


def mean(comm, tree):
    """Return the mean of all ranks' trees. Collective."""
    own, tree_of = vector(tree)
    total = np.empty_like(own)
    wait([comm.Iallreduce(own, total)])
    return tree_of(total / comm.size)
