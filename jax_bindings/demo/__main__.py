"""Run the demo on this rank: mpiexec -n 4 python -m jax_bindings.demo

Each rank trains on its own part of the data. What the ranks average at every step are the parameters. The
optimizer's state (Adam's moments) stays each rank's own: it follows the rank's own gradients. The averager is
called in the jitted step.
"""

import contextlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator

from mpi4py import MPI

# Nothing that imports JAX: with several ranks on a core that takes seconds, and the user would see nothing.
from jax_bindings.demo import arguments
from wagma_rma.bindings import timeline

PACKAGES = {"jax": "jax", "optax": "optax", "sklearn": "scikit-learn", "matplotlib": "matplotlib"}


def main() -> None:
    """Run the demo on this rank. Collective."""
    comm = MPI.COMM_WORLD
    check_packages()
    # All ranks would print the same about a wrong command line.
    with contextlib.nullcontext() if comm.rank == 0 else silence():
        chosen = arguments.parse(None, comm.size)
        print(arguments.greeting(comm.size), flush=True)
    use_one_cpu_device()
    try:
        from jax_bindings.demo.summary import caption, heading, steps_of, summary
        from jax_bindings.demo.training import train

        run = train(comm, chosen)
        runs = comm.gather(run)
        if runs is not None:
            steps = steps_of(chosen, runs)
            print(summary(chosen, runs, steps), flush=True)
            title, below = " ".join(heading(chosen, comm.size)), caption(chosen)
            timeline.draw(chosen.timeline, title, below, dict(enumerate(steps)))
    except Exception:
        # The other ranks may be waiting for this one.
        traceback.print_exc()
        sys.stderr.flush()
        comm.Abort(1)


def check_packages() -> None:
    """Raise ImportError before anything is trained if a package of the demo is not installed."""
    missing = [package for module, package in PACKAGES.items() if not is_installed(module)]
    if missing:
        raise ImportError(
            f"jax_bindings.demo needs {', '.join(missing)}; the extra `jax` has what the demo needs: "
            "pip install 'wagma-rma[jax]', in a checkout pip install -e '.[jax]'"
        )


def is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # it was imported in an unusual way
        return sys.modules.get(module) is not None


def use_one_cpu_device() -> None:
    """Have JAX use the CPU, unless the environment says otherwise, and one thread for each rank."""
    # There may be more ranks than cores, and one thread gives the same sums every time. JAX reads XLA_FLAGS
    # when it is first used.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    if "JAX_PLATFORMS" not in os.environ:
        import jax

        jax.config.update("jax_platforms", "cpu")


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
    main()
