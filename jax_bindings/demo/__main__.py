"""Run the demo on this rank: mpiexec -n 4 python -m jax_bindings.demo

Each rank trains on its own part of the data. What the ranks average at every step are the parameters. The
optimizer's state (Adam's moments) stays each rank's own: it follows the rank's own gradients. The averager is
called in the jitted step.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator

import jax
from mpi4py import MPI

from jax_bindings.demo import arguments, timeline
from jax_bindings.demo.summary import heading, summary
from jax_bindings.demo.training import train


def main() -> None:
    """Run the demo on this rank. Collective."""
    comm = MPI.COMM_WORLD
    # All ranks would print the same about a wrong command line.
    with contextlib.nullcontext() if comm.rank == 0 else silence():
        chosen = arguments.parse(None, comm.size)
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
def silence() -> Iterator[None]:
    """Print nothing in the block."""
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


if __name__ == "__main__":
    # There may be more ranks than cores, and one thread gives the same sums every time. JAX has read
    # JAX_PLATFORMS when it was imported; it reads XLA_FLAGS when it is first used.
    if "JAX_PLATFORMS" not in os.environ:
        jax.config.update("jax_platforms", "cpu")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    main()
