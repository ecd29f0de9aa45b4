"""Train a network on handwritten digits over MPI ranks, one of which is slow now and then.

    mpiexec -n 4 python -m jax_bindings.demo

Each rank trains on its own shard; what they average at every step are the parameters. The optimizer's state
(Adam's moments) stays local: it follows each rank's own gradients. The averager is called in the jitted step.
"""

import argparse
import contextlib
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from mpi4py import MPI
from wagma_rma import grouping as groupings

from jax_bindings import digits, timeline
from jax_bindings.board import Board, Progress
from jax_bindings.pytree import PytreeAverager

MODES = {
    "wagma": "groups average at every step without waiting for the absent, all ranks every --sync-period steps",
    "allreduce": "all ranks average at every step (sync_period=1)",
    "local": "nobody averages before the end (group_size=1, one synchronisation)",
}


def options(arguments: list[str] | None, ranks: int) -> argparse.Namespace:
    """Parse the command line. Local; exits if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="mpiexec -n 4 python -m jax_bindings.demo",
        description="Train on handwritten digits while a rank is slow now and then.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="Without a slow rank (--slow-every 0) the same options give the same result: groups then wait for "
        "all of their members (quorum = group size), or it would depend on who comes first. With slow ranks "
        "nobody is waited for (quorum = 1), and results vary a little from run to run.",
    )
    add = parser.add_argument
    add("--mode", choices=MODES, default="wagma", help="; ".join(f"{k}: {v}" for k, v in MODES.items()))
    add("--slow-rank", type=int, nargs="+", metavar="RANK", help="ranks that are slow now and then (default: 1)")
    add("--slow-seconds", type=float, default=0.3, help="how long a slow rank sleeps")
    add("--slow-every", type=int, default=10, help="it does once in so many steps, at random; 0: never")
    add("--steps", type=int, default=205, help="steps; 205 ends 5 after a synchronisation, so own models differ")
    add("--batch-size", type=int, default=128, help="images a step and rank")
    add("--group-size", type=int, help="ranks that average together (default: near the square root of all)")
    add("--sync-period", type=int, default=10, help="steps from one average of all ranks to the next")
    add("--seed", type=int, default=0, help="of the data's order, the start, and who is slow when")
    add("--timeline", type=Path, default=Path("wagma_timeline.png"), help="where the picture of the run goes")
    add("--no-table", action="store_true", help="don't show progress while training")
    chosen = parser.parse_args(arguments)
    if chosen.slow_rank is None:
        chosen.slow_rank = [1] if ranks > 1 else []
    for name, least in (("steps", 1), ("batch_size", 1), ("slow_every", 0), ("slow_seconds", 0), ("seed", 0)):
        if getattr(chosen, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be {least} or more")
    if not all(0 <= rank < ranks for rank in chosen.slow_rank):
        parser.error(f"--slow-rank must be between 0 and {ranks - 1}: there are {ranks} ranks")
    if not chosen.timeline.absolute().parent.is_dir():
        parser.error(f"--timeline: there is no directory {chosen.timeline.absolute().parent}")
    if not (chosen.slow_every and chosen.slow_seconds):
        chosen.slow_rank = []
    return chosen


def averaging(chosen: argparse.Namespace, ranks: int) -> dict[str, Any]:
    """Return the averager's options that make up a mode."""
    if chosen.mode == "allreduce":
        return {"group_size": 1, "sync_period": 1}
    if chosen.mode == "local":
        return {"group_size": 1, "sync_period": chosen.steps + 2}
    size = groupings.choose(ranks, chosen.group_size).size
    return {
        "group_size": size,
        "sync_period": chosen.sync_period,
        "quorum": 1 if chosen.slow_rank else size,
    }


def slow_steps(chosen: argparse.Namespace, rank: int) -> set[int]:
    """Return the steps at which this rank is slow: one of every --slow-every."""
    if rank not in chosen.slow_rank:
        return set()
    starts = range(1, chosen.steps + 1, chosen.slow_every)
    chance = np.random.default_rng([chosen.seed, rank, 1])
    return {int(start + chance.integers(chosen.slow_every)) for start in starts}


class Run(NamedTuple):
    """What a rank has to tell when it is done."""

    steps: list[timeline.Step]
    own_accuracy: float
    accuracy: float
    progress: Progress


def train(comm: MPI.Intracomm, chosen: argparse.Namespace) -> Run:
    """Train on this rank. Collective."""
    data = digits.load(chosen.seed, comm.rank, comm.size)
    chance = np.random.default_rng([chosen.seed, comm.rank, 0])
    slow = slow_steps(chosen, comm.rank)
    optimizer = optax.adam(1e-3)
    start = digits.init(jax.random.key(chosen.seed))

    with PytreeAverager(comm, start, **averaging(chosen, comm.size)) as averager:

        def loss_of(params: digits.Params, images: jax.Array, labels: jax.Array) -> jax.Array:
            scores = digits.logits(params, images)
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores, labels))

        @jax.jit
        def update(params: digits.Params, state: Any, images: jax.Array, labels: jax.Array) -> Any:
            loss, gradients = jax.value_and_grad(loss_of)(params, images, labels)
            updates, state = optimizer.update(gradients, state, params)
            return averager(optax.apply_updates(params, updates)), state, loss

        def batch() -> tuple[Any, Any]:
            chosen_images = chance.integers(len(data.images), size=chosen.batch_size)
            return data.images[chosen_images], data.labels[chosen_images]

        def progress(step: int, loss: float) -> Progress:
            so_far = averager.statistics
            counts = (so_far.fresh, so_far.late, so_far.missed, so_far.synchronized)
            return Progress(step, loss, *counts, so_far.seconds_waited)

        def step_done(begin: float, slowed: float) -> timeline.Step:
            report = averager.report
            times = (begin, slowed, report.seconds_waited, report.seconds, time.monotonic())
            return timeline.Step(*times, report.outcome)

        params, state = averager.params, optimizer.init(averager.params)
        # Compiling takes a second, and not the same at every rank: it must not look like a slow rank.
        compiled = update.lower(params, state, *batch()).compile()
        jax.block_until_ready(digits.accuracy(params, data.test_images, data.test_labels))
        board = Board(comm, show=not chosen.no_table)
        comm.Barrier()

        steps = []
        for step in range(1, chosen.steps + 1):
            begin = time.monotonic()
            if step in slow:
                time.sleep(chosen.slow_seconds)
            slowed = time.monotonic() - begin if step in slow else 0.0
            params, state, loss = jax.block_until_ready(compiled(params, state, *batch()))
            steps.append(step_done(begin, slowed))
            board.post(progress(step, float(loss)))
        begin = time.monotonic()
        mean = averager.synchronize(params)
        steps.append(step_done(begin, 0.0))
        board.post(progress(chosen.steps, float(loss)), last=True)
        board.close()
        accuracies = [
            float(digits.accuracy(model, data.test_images, data.test_labels)) for model in (params, mean)
        ]
        return Run(steps, *accuracies, progress(chosen.steps, float(loss)))


def summary(chosen: argparse.Namespace, runs: list[Run]) -> str:
    """Return what came of the run."""
    whole = averaging(chosen, len(runs))
    what = {
        "wagma": f"groups of {whole['group_size']}, all synchronised every {chosen.sync_period} steps",
        "allreduce": "all ranks average at every step",
        "local": "one average at the end",
    }[chosen.mode]
    slow = "no slow rank"
    if chosen.slow_rank:
        names = ", ".join(map(str, chosen.slow_rank))
        slow = f"slowed by {chosen.slow_seconds:g} s once in {chosen.slow_every} steps: rank {names}"
    lines = [
        "",
        f"== {chosen.mode}: {len(runs)} ranks, {chosen.steps} steps; {what}; {slow} ==",
        "rank   own accuracy   fresh    late  missed    sync   waited",
    ]
    for rank, run in enumerate(runs):
        done = run.progress
        lines.append(
            f"{rank:4}   {run.own_accuracy:12.4f}  {done.fresh:6}  {done.late:6}  {done.missed:6}"
            f"  {done.synchronized:6}  {done.waited:5.2f} s"
        )
    wall = max(run.steps[-1].end for run in runs) - min(run.steps[0].begin for run in runs)
    waited = [run.progress.waited for rank, run in enumerate(runs) if rank not in chosen.slow_rank]
    lines += [
        f"synchronised model: test accuracy {runs[0].accuracy:.4f}",
        f"wall time: {wall:.2f} s",
    ]
    if waited:
        whose = "ranks that are not slowed" if chosen.slow_rank else "ranks"
        lines.append(f"time waited by the {whose}: {sum(waited) / len(waited):.2f} s each on average")
    lines.append(f"timeline: {chosen.timeline}")
    other = "wagma" if chosen.mode != "wagma" else "allreduce"
    means = "what waiting costs" if other == "allreduce" else "the same run without waiting for the absent"
    lines.append(f"compare: run with --mode {other} to see {means}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run the demo on this rank. Collective."""
    comm = MPI.COMM_WORLD
    # All ranks would say the same about a wrong command line.
    with contextlib.nullcontext() if comm.rank == 0 else _silence():
        chosen = options(arguments, comm.size)
    try:
        run = train(comm, chosen)
        runs = comm.gather(run)
        if runs is not None:
            title = f"{chosen.mode}: {comm.size} ranks on handwritten digits"
            timeline.draw(chosen.timeline, title, [run.steps for run in runs])
            print(summary(chosen, runs), flush=True)
    except Exception:
        # The other ranks may be waiting for this one.
        traceback.print_exc()
        sys.stderr.flush()
        comm.Abort(1)


@contextlib.contextmanager
def _silence() -> Any:
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


if __name__ == "__main__":
    # Ranks may outnumber cores, and one thread gives the same sums every time. JAX has read JAX_PLATFORMS when
    # it was imported, XLA_FLAGS it reads when first used.
    if "JAX_PLATFORMS" not in os.environ:
        jax.config.update("jax_platforms", "cpu")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    main()
