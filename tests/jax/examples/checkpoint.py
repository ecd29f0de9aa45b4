"""Train on digits, stop after any step, and go on from an Orbax checkpoint with the same results.

mpiexec -n 4 python checkpoint.py DIRECTORY [--stop-after 7]     and again, without --stop-after
"""

import argparse
import hashlib
from pathlib import Path

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from mpi4py import MPI

from jax_bindings import PytreeAverager
from jax_bindings.demo import digits

STEPS = 20


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--stop-after", type=int, default=STEPS)
    chosen = parser.parse_args()

    comm = MPI.COMM_WORLD
    data = digits.load(0, comm.rank, comm.size)
    optimizer = optax.adam(1e-3)
    params = jax.tree.map(jax.numpy.asarray, digits.init(0))
    saved = {"params": params, "optimizer": optimizer.init(params), "averager": {"step": 0}}

    # Between synchronisations each rank has params of its own, so each saves its own.
    path = (chosen.directory / f"rank{comm.rank}").absolute()
    checkpointer = ocp.StandardCheckpointer()
    resumed = path.exists()
    if resumed:
        saved = checkpointer.restore(path, saved)

    averager = PytreeAverager(
        comm,
        saved["params"],
        broadcast=not resumed,
        start_step=int(saved["averager"]["step"]),
        sync_period=5,
        group_size=2,
        quorum=2,  # without stragglers the same results, to the bit
    )

    @jax.jit
    def step(params, state, images, labels):
        def loss_of(params):
            scores = digits.logits(params, images)
            return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()

        updates, state = optimizer.update(jax.grad(loss_of)(params), state, params)
        return averager(optax.apply_updates(params, updates)), state

    params, state = averager.params, saved["optimizer"]
    for number in range(averager.step + 1, chosen.stop_after + 1):
        batch = np.random.default_rng([comm.rank, number]).integers(len(data.images), size=64)
        params, state = step(params, state, data.images[batch], data.labels[batch])
    jax.block_until_ready(params)

    now = {"params": params, "optimizer": state, "averager": averager.state_dict()}
    checkpointer.save(path, now, force=True)
    checkpointer.wait_until_finished()
    content = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params))
    print(f"rank {comm.rank}: step {averager.step}, params {hashlib.sha256(content).hexdigest()[:16]}")
    averager.close()


if __name__ == "__main__":
    main()
