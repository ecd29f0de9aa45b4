"""A step inside jax.jit on a GPU against what it consists of, paired in one run.

    mpiexec -n 2 python -m benchmarks.gpu_step [--floats 1e3,1e6] [--json FILE] [--trace FOLDER]

All ranks share the first device of JAX and average in one group. `ffi` and `callback` are a compiled function
of donated params that does nothing but average. `numpy` is average(model, out=model) on the host; `down` and
`up` are copies of the model between the device and pinned memory of the host, by torch. `parts` is their sum.
Times are medians over the steps, of the slowest rank; a ratio is the median of the ratios to what is done
next to it.

The second table is of a function that computes on the device, and then averages: `compute` without averaging,
`step` with, and `overlap` with overlap=True; `left` is what overlap leaves of the exchange: (overlap -
compute - down - up) / numpy.

Without a GPU the same runs on a CPU, which says nothing of GPUs: to try the program.
"""

import argparse
import os
import statistics
import time

# Several ranks share one device.
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.3")

import jax
import jax.numpy as jnp
import numpy as np
import torch
from mpi4py import MPI

from benchmarks import table
from jax_bindings import PytreeAverager
from wagma_rma import GroupAverager

SIZES = [10**3, 10**4, 10**5, 10**6, 10**7, 25 * 10**6, 10**8]
STEPS_COLUMNS = ("floats", "ffi", "callback", "numpy", "down", "up", "ffi/parts", "ffi/callback")
OVERLAP_COLUMNS = ("floats", "compute", "step", "overlap", "down + up", "numpy", "left")
WARM_UP = 3
NEVER = 100_000  # a sync_period of more steps than a run has


def steps_of(count):
    """Return how many steps to measure."""
    return max(8, min(100, 10**8 // count))


def bare_copies(count):
    """Return calls that copy a model down to pinned memory, and up."""
    on_gpu = torch.cuda.is_available()
    device = torch.zeros(count, device="cuda" if on_gpu else "cpu")
    host = torch.zeros(count, pin_memory=on_gpu)

    def wait():
        if on_gpu:
            torch.cuda.synchronize()

    def down():
        host.copy_(device, non_blocking=True)
        wait()

    def up():
        device.copy_(host, non_blocking=True)
        wait()

    return {"down": down, "up": up}


def paired(comm, calls, steps):
    """Make each call once a step; return the seconds of each, of the slowest rank."""
    times = {name: [] for name in calls}
    for step in range(steps + WARM_UP):
        for name, call in calls.items():
            comm.Barrier()
            started = time.perf_counter()
            call()
            seconds = comm.allreduce(time.perf_counter() - started, MPI.MAX)
            if step >= WARM_UP:
                times[name].append(seconds)
    return times


def ratio(over, under):
    """Return the median of the ratios of two lists."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


class Stepping:
    """A compiled function of params that it donates, called again and again."""

    def __init__(self, function, params):
        self._compiled = jax.jit(function, donate_argnums=0)
        self._params = params

    def __call__(self):
        self._params = jax.block_until_ready(self._compiled(self._params))


def measure(comm, count):
    """Return the seconds of all calls of the first table."""
    steps = steps_of(count)
    model = np.full(count, comm.rank, np.float32)
    options = {"group_size": comm.size, "quorum": comm.size, "sync_period": NEVER, "broadcast": False}
    with (
        GroupAverager(comm, model, **options) as plain,
        PytreeAverager(comm, jnp.asarray(model), backend="ffi", **options) as ffi,
        PytreeAverager(comm, jnp.asarray(model), backend="callback", **options) as callback,
    ):
        calls = {
            "ffi": Stepping(ffi, jnp.array(model)),
            "callback": Stepping(callback, jnp.array(model)),
            "numpy": lambda: plain.average(model, out=model),
            **bare_copies(count),
        }
        return paired(comm, calls, steps)


def product(x, turns):
    """Compute for a while on the device, with numbers that stay small."""
    return jax.lax.fori_loop(0, turns, lambda _, x: jnp.tanh(x @ x * 1e-3), x)


def turns_for(seconds):
    """Return how many turns of product() take so long, and what it is called with."""
    side = 4096 if jax.default_backend() == "gpu" else 256
    matrix = jnp.full((side, side), 0.01)
    compiled = jax.jit(product)
    jax.block_until_ready(compiled(matrix, 10))
    started = time.perf_counter()
    jax.block_until_ready(compiled(matrix, 50))
    return max(1, round(50 * seconds / (time.perf_counter() - started))), matrix


def measure_overlap(comm, count, seconds, trace):
    """Return the seconds of all calls of the second table, of programs that compute for some seconds."""
    model = np.full(count, comm.rank, np.float32)
    options = {"group_size": comm.size, "quorum": comm.size, "sync_period": NEVER, "broadcast": False}
    turns, matrix = comm.bcast(turns_for(seconds)[0]), turns_for(seconds)[1]

    def computing(average):
        def step(state):
            params, matrix = state
            matrix = product(matrix, turns)
            # The params depend on what has been computed, as those of a training step do.
            return average(params + 0 * matrix[0, 0]), matrix

        return Stepping(step, (jnp.array(model), matrix + 0))

    with (
        GroupAverager(comm, model, **options) as plain,
        PytreeAverager(comm, jnp.asarray(model), backend="ffi", **options) as waits,
        PytreeAverager(comm, jnp.asarray(model), backend="ffi", overlap=True, **options) as overlaps,
    ):
        calls = {
            "compute": computing(lambda params: params),
            "step": computing(waits),
            "numpy": lambda: plain.average(model, out=model),
            **bare_copies(count),
        }
        times = paired(comm, calls, 8)
        # By itself: the step after it would hide what it leaves.
        overlap = computing(overlaps)
        times |= paired(comm, {"overlap": overlap}, 8)
        if trace and comm.rank == 0:
            jax.profiler.start_trace(trace, create_perfetto_trace=True)
        for _ in range(4):
            overlap()
        if trace and comm.rank == 0:
            jax.profiler.stop_trace()
    return times


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--floats", help="sizes of the model, with commas; default: 1e3 to 1e8")
    parser.add_argument("--compute", type=float, default=0.1, help="seconds; default 0.1")
    parser.add_argument("--json", help="file to write the rows to")
    parser.add_argument("--trace", help="folder for rank 0's trace of steps with overlap, for Perfetto")
    arguments = parser.parse_args(arguments)
    comm = MPI.COMM_WORLD
    sizes = [int(float(text)) for text in arguments.floats.split(",")] if arguments.floats else SIZES
    device = jax.devices()[0]
    if comm.rank == 0:
        print(
            f"{comm.size} ranks on {device.device_kind} ({device.platform}), jax {jax.__version__}",
            flush=True,
        )
    rows = []
    table.say(comm, STEPS_COLUMNS)
    for count in sizes:
        times = measure(comm, count)
        medians = {name: statistics.median(values) for name, values in times.items()}
        parts = [sum(at) for at in zip(times["numpy"], times["down"], times["up"], strict=True)]
        ratios = {"parts": ratio(times["ffi"], parts), "callback": ratio(times["ffi"], times["callback"])}
        rows.append({"floats": count, "medians": medians, "ratios": ratios})
        cells = [f"{medians[name] * 1e3:.3f} ms" for name in STEPS_COLUMNS[1:6]]
        table.say(comm, (str(count), *cells, *(f"{value:.2f}" for value in ratios.values())))
    table.say(comm, OVERLAP_COLUMNS)
    for count in [size for size in sizes if size >= 10**6]:
        times = measure_overlap(comm, count, arguments.compute, arguments.trace)
        medians = {name: statistics.median(values) for name, values in times.items()}
        copies = medians["down"] + medians["up"]
        left = (medians["overlap"] - medians["compute"] - copies) / medians["numpy"]
        rows.append({"floats": count, "overlap": medians, "left": left})
        shown = [medians[name] for name in ("compute", "step", "overlap")] + [copies, medians["numpy"]]
        table.say(comm, (str(count), *(f"{value * 1e3:.3f} ms" for value in shown), f"{left:.2f}"))
    table.write(comm, arguments.json, rows, device=device.device_kind)


if __name__ == "__main__":
    main()
