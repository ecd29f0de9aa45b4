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

from jax_bindings import digits, timeline
from jax_bindings.board import Board, Progress
from jax_bindings.pytree import PytreeAverager
from wagma_rma import Outcome
from wagma_rma.groups.choice import choose

MODES = {
    "wagma": "groups average at every step and don't wait for the absent, all ranks every --sync-period",
    "allreduce": "all ranks average at every step (sync_period=1)",
    "local": "nobody averages before the end (group_size=1, one synchronisation)",
}
EVERY = "once in so many steps, at one drawn from the seed; 0: never (%(default)s)"
BACKENDS = {"ffi": "XLA's FFI, in place", "callback": "a host callback"}
STEPS = "how many; some more than a synchronisation, so that the models differ (%(default)s)"
PICTURE = "where the picture of the run goes (%(default)s)"


def options(arguments: list[str] | None, ranks: int) -> argparse.Namespace:
    """Parse the command line. Local; exits if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="jax_bindings.demo",
        usage="mpiexec -n 4 python -m jax_bindings.demo [options]",
        description="Train a network on handwritten digits while a rank is slow now and then.",
        epilog="With slow ranks nobody waits for the absent between synchronisations (quorum = 1), and "
        "results vary a little from run to run. Without (--slow-every 0) the same options give the same "
        "result: groups then wait for all of their members (quorum = group size), since who comes first is "
        "chance. All ranks do the same number of steps, so a rank that is always the slowest is met at every "
        "synchronisation; most time is won when ranks are slow in turn (--slow-rank 0 1 2 3), or outnumber "
        "the cores, which others can use while one sleeps.",
    )
    modes = "; ".join(f"{mode}: {what}" for mode, what in MODES.items())
    add = parser.add_argument
    add("--mode", choices=MODES, default="wagma", help=modes + " (%(default)s)")
    add("--slow-rank", type=int, nargs="+", metavar="RANK", help="who is slow now and then (1)")
    add("--slow-seconds", type=float, default=0.3, metavar="S", help="how long it sleeps (%(default)s)")
    add("--slow-every", type=int, default=20, metavar="N", help=EVERY)
    add("--steps", type=int, default=205, metavar="N", help=STEPS)
    add("--batch-size", type=int, default=128, metavar="N", help="images a step and rank (%(default)s)")
    add("--group-size", type=int, metavar="N", help="ranks in a group (near the square root of all)")
    add(
        "--sync-period",
        type=int,
        default=10,
        metavar="N",
        help="steps between synchronisations (%(default)s)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of data, start and slowness (%(default)s)")
    add("--timeline", type=Path, default=Path("wagma_timeline.png"), metavar="PNG", help=PICTURE)
    add("--no-table", action="store_true", help="don't show progress while training")
    chosen = parser.parse_args(arguments)
    if chosen.slow_rank is None:
        chosen.slow_rank = [1] if ranks > 1 else []
    for name in ("steps", "batch_size", "sync_period", "slow_every", "slow_seconds", "seed"):
        least = int(name in ("steps", "batch_size", "sync_period"))
        if not getattr(chosen, name) >= least:
            parser.error(f"--{name.replace('_', '-')} must be {least} or more")
    if not all(0 <= rank < ranks for rank in chosen.slow_rank):
        parser.error(f"--slow-rank must be between 0 and {ranks - 1}: there are {ranks} ranks")
    if not chosen.timeline.absolute().parent.is_dir():
        parser.error(f"--timeline: there is no directory {chosen.timeline.absolute().parent}")
    try:
        choose(ranks, chosen.group_size)
    except (TypeError, ValueError) as error:
        parser.error(f"--group-size: {error}")
    if not (chosen.slow_every and chosen.slow_seconds):
        chosen.slow_rank = []
    return chosen


def averaging(chosen: argparse.Namespace, ranks: int) -> dict[str, Any]:
    """Return the averager's options that make up a mode."""
    if chosen.mode == "allreduce":
        return {"group_size": 1, "sync_period": 1}
    if chosen.mode == "local":
        return {"group_size": 1, "sync_period": chosen.steps + 2}
    size = choose(ranks, chosen.group_size).size
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
    chance = np.random.default_rng([chosen.seed, rank, 2])
    return {int(start + chance.integers(chosen.slow_every)) for start in starts}


class Run(NamedTuple):
    """What a rank has to tell when it is done."""

    steps: list[timeline.Step]
    progress: Progress
    own_accuracy: float
    accuracy: float
    backend: str


def train(comm: MPI.Intracomm, chosen: argparse.Namespace) -> Run:
    """Train on this rank. Collective."""
    data = digits.load(chosen.seed, comm.rank, comm.size)
    chance = np.random.default_rng([chosen.seed, comm.rank, 1])
    slow = slow_steps(chosen, comm.rank)
    optimizer = optax.adam(1e-3)
    start = digits.init(chosen.seed)

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

        def accuracy(model: digits.Params) -> float:
            return float(digits.accuracy(model, data.test_images, data.test_labels))

        params, state = averager.params, optimizer.init(averager.params)
        # Compiling takes a second, and not the same at every rank: it must not look like a slow rank.
        compiled = update.lower(params, state, *batch()).compile()
        board = Board(comm, show=not chosen.no_table)
        comm.Barrier()

        steps: list[timeline.Step] = []
        begin = time.monotonic()
        for step in range(1, chosen.steps + 1):
            slowed = chosen.slow_seconds if step in slow else 0.0
            time.sleep(slowed)
            params, state, loss = compiled(params, state, *batch())
            loss = float(loss)
            jax.block_until_ready(params)
            steps.append(step_done(begin, slowed))
            begin = steps[-1].end
            board.post(progress(step, loss))
        mean = averager.synchronize(params)
        steps.append(step_done(begin, 0.0))
        last = progress(chosen.steps, loss)
        board.post(last, last=True)
        board.close()
        return Run(steps, last, accuracy(params), accuracy(mean), averager.backend)


def heading(chosen: argparse.Namespace, ranks: int) -> str:
    """Return in a line what was run."""
    how = {
        "wagma": f"groups of {averaging(chosen, ranks)['group_size']}, all synchronised every "
        f"{chosen.sync_period} steps",
        "allreduce": "all synchronised at every step",
        "local": "all synchronised at the end",
    }[chosen.mode]
    slow = "no rank slowed"
    if chosen.slow_rank:
        names = ", ".join(map(str, chosen.slow_rank))
        slow = f"slowed by {chosen.slow_seconds:g} s once in {chosen.slow_every} steps: rank {names}"
    return f"{chosen.mode}: {ranks} ranks, {chosen.steps} steps; {how}; {slow}"


def summary(chosen: argparse.Namespace, runs: list[Run]) -> str:
    """Return what came of it."""
    lines = [
        "",
        heading(chosen, len(runs)),
        "",
        "rank    own accuracy   fresh    late  missed    sync    waited  (at synchronisations)",
    ]
    for rank, run in enumerate(runs):
        done = run.progress
        at = sum(step.waited for step in run.steps if step.outcome is Outcome.SYNCHRONIZED)
        lines.append(
            f"{rank:4}    {run.own_accuracy:12.4f}  {done.fresh:6}  {done.late:6}  {done.missed:6}"
            f"  {done.synchronized:6}  {done.waited:6.2f} s  ({at:.2f} s)"
        )
    wall = max(run.steps[-1].end for run in runs) - min(run.steps[0].begin for run in runs)
    waited = sum(run.progress.waited for run in runs)
    lines += [
        "",
        f"accuracy of the synchronised model  {runs[0].accuracy:.4f}",
        f"wall time                           {wall:.2f} s",
        f"waited by all ranks together        {waited:.2f} s",
        f"averaged in the compiled step by    {BACKENDS[runs[0].backend]}",
        f"timeline                            {chosen.timeline}",
        "",
    ]
    if chosen.mode == "allreduce":
        lines.append("To compare: --mode wagma does the same without waiting at every step.")
    else:
        lines.append(
            "To compare: --mode allreduce shows what waiting costs, most of all when ranks are slow in turn"
        )
        lines.append(f"(in both modes --slow-rank {' '.join(map(str, range(len(runs))))}).")
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
            print(summary(chosen, runs), flush=True)
            timeline.draw(chosen.timeline, heading(chosen, comm.size), [run.steps for run in runs])
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
    # Ranks may outnumber cores, and one thread gives the same sums every time. JAX has read JAX_PLATFORMS
    # when it was imported; XLA_FLAGS it reads when first used.
    if "JAX_PLATFORMS" not in os.environ:
        jax.config.update("jax_platforms", "cpu")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    main()
