"""The training of the demo, on one rank."""

import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from mpi4py import MPI

from jax_bindings import PytreeAverager
from jax_bindings.demo import digits
from jax_bindings.demo.arguments import Arguments
from jax_bindings.demo.board import Board, Progress
from wagma_rma.bindings import AveragerOptions, choose_grouping

Batch: TypeAlias = tuple[digits.Floats, digits.Integers]  # images, labels
Update: TypeAlias = Callable[..., tuple[digits.Params, optax.OptState, jax.Array]]


class Run(NamedTuple):
    """What a rank reports when it is done."""

    began: float
    """When the first step began, seconds on the clock of this host."""
    slowed: list[float]
    """Seconds that it slept in each of its steps, and in the synchronisation at the end."""
    progress: Progress
    own_accuracy: float
    accuracy: float
    """Of the synchronised model."""
    backend: str
    """How the compiled program averaged."""


def averager_options(chosen: Arguments, ranks: int) -> AveragerOptions:
    """Return the averager's options that make up a mode."""
    if chosen.mode == "allreduce":
        return {"group_size": 1, "sync_period": 1}
    if chosen.mode == "local":
        return {"group_size": 1, "sync_period": chosen.steps + 2}
    size = choose_grouping(ranks, chosen.group_size).size
    return {
        "group_size": size,
        "sync_period": chosen.sync_period,
        "quorum": 1 if chosen.slow_rank or chosen.elastic else size,
        "sync_quorum": 1 if chosen.elastic else None,
    }


def slow_steps(chosen: Arguments, rank: int) -> set[int]:
    """Return which of its steps this rank is slow at, the first being 1: one of every --slow-every."""
    if rank not in chosen.slow_rank:
        return set()
    starts = range(1, chosen.steps + 1, chosen.slow_every)
    random = np.random.default_rng([chosen.seed, rank, 2])
    return {int(start + random.integers(chosen.slow_every)) for start in starts}


def train(comm: MPI.Intracomm, chosen: Arguments) -> Run:
    """Train on this rank. Collective."""
    data = digits.load(chosen.seed, comm.rank, comm.size)
    random = np.random.default_rng([chosen.seed, comm.rank, 1])
    slow = slow_steps(chosen, comm.rank)
    optimizer = optax.adam(1e-3)
    start = digits.init(chosen.seed)

    def batch() -> Batch:
        chosen_images = random.integers(len(data.images), size=chosen.batch_size)
        return data.images[chosen_images], data.labels[chosen_images]

    def accuracy(model: digits.Params) -> float:
        return float(digits.accuracy(model, data.test_images, data.test_labels))

    options = averager_options(chosen, comm.size)
    options["trace"] = chosen.trace
    grouped = (options["group_size"] or 1) > 1
    with PytreeAverager(comm, start, **options) as averager:
        params, state = averager.params, optimizer.init(averager.params)
        # Ranks take a second or so to compile, some longer than others. Compiled before the first step, they
        # don't look slow.
        update = jax.jit(_update_of(optimizer, averager)).lower(params, state, *batch()).compile()
        board = Board(comm, show=not chosen.no_table)
        comm.Barrier()

        slept: list[float] = []
        began = time.monotonic()
        while averager.step < chosen.steps:
            # Steps that are skipped are not counted: a rank does not become faster by them.
            slept.append(chosen.slow_seconds if len(slept) + 1 in slow else 0.0)
            time.sleep(slept[-1])
            params, state, loss = update(params, state, *batch())
            loss = float(loss)
            jax.block_until_ready(params)
            board.post(_progress(averager, averager.step, loss, grouped))
        mean = averager.synchronize(params)
        last = _progress(averager, chosen.steps, loss, grouped)
        board.post(last, last=True)
        board.close()
        return Run(began, [*slept, 0.0], last, accuracy(params), accuracy(mean), averager.backend)


def _update_of(optimizer: optax.GradientTransformation, averager: PytreeAverager) -> Update:
    """Return what a step of training computes: the loss, an update of the params, and their average."""

    def loss_of(params: digits.Params, images: jax.Array, labels: jax.Array) -> jax.Array:
        scores = digits.logits(params, images)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores, labels))

    def update(
        params: digits.Params, state: optax.OptState, images: jax.Array, labels: jax.Array
    ) -> tuple[digits.Params, optax.OptState, jax.Array]:
        loss, gradients = jax.value_and_grad(loss_of)(params, images, labels)
        updates, state = optimizer.update(gradients, state, params)
        return averager(optax.apply_updates(params, updates)), state, loss

    return update


def _progress(averager: PytreeAverager, step: int, loss: float, grouped: bool) -> Progress:
    """Return what this rank has done so far.

    Args:
        grouped: whether groups have several members; a group of one averages nothing.
    """
    sums = averager.statistics
    return Progress(
        step,
        loss,
        sums.fresh if grouped else 0,
        sums.late,
        sums.missed,
        sums.synchronized,
        sums.seconds_waited,
    )
