"""A step inside jax.jit against the numpy step in place, paired in one run.

    mpiexec -n 2 python -m benchmarks.jax_step [--json FILE]

All ranks average in one group. `numpy` is average(model, out=model), `ffi` and `callback` are a compiled
function of donated params that does nothing else. Times are medians over the steps, of the slowest rank; a
ratio is the median of the ratios to numpy's step next to it. Of the callback, `exchange` is the averager's
own step, and `JAX` what a callback takes that returns its argument: copies in and out, and the way there;
`rest` is ours.
"""

import argparse
import os
import statistics
import time

# One thread, as ranks outnumber or equal cores; read when JAX is first used.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
from jax.experimental import io_callback
from mpi4py import MPI

from benchmarks import table
from jax_bindings import PytreeAverager
from wagma_rma import GroupAverager

SIZES = {1000: 400, 1 << 20: 60, 25_000_000: 12}
COLUMNS = ("floats", "numpy", "ffi", "ratio", "callback", "ratio", "exchange", "JAX", "rest")


def measure(comm, count, steps):
    """Return the medians of a size, and those of the ratios."""
    model = np.full(count, comm.rank, np.float32)
    options = {"group_size": comm.size, "sync_period": 2 * steps + 10, "broadcast": False}
    params = jax.device_put(model.copy()), jax.device_put(model.copy()), jax.device_put(model.copy())
    same = jax.ShapeDtypeStruct((count,), np.float32)
    with (
        GroupAverager(comm, model, **options) as plain,
        PytreeAverager(comm, params[0], backend="ffi", **options) as ffi,
        PytreeAverager(comm, params[1], backend="callback", **options) as callback,
    ):
        identity = jax.jit(lambda x: io_callback(np.asarray, same, x, ordered=True), donate_argnums=0)
        state = dict(zip(("ffi", "callback", "identity"), params, strict=True))
        compiled = {
            "ffi": jax.jit(ffi, donate_argnums=0),
            "callback": jax.jit(callback, donate_argnums=0),
            "identity": identity,
        }

        def numpy():
            plain.average(model, out=model)

        def run(name):
            state[name] = compiled[name](state[name])
            state[name].block_until_ready()

        calls = {"numpy": numpy} | {name: lambda name=name: run(name) for name in compiled}
        times = {name: [] for name in (*calls, "exchange")}
        for step in range(steps + 3):  # the first compile and touch memory
            for name, call in calls.items():
                comm.Barrier()
                started = time.perf_counter()
                call()
                seconds = comm.allreduce(time.perf_counter() - started, MPI.MAX)
                if step >= 3:
                    times[name].append(seconds)
            if step >= 3:
                times["exchange"].append(comm.allreduce(callback.report.seconds, MPI.MAX))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {
        name: statistics.median(a / b for a, b in zip(times[name], times["numpy"], strict=True))
        for name in ("ffi", "callback")
    }
    return medians, ratios


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="file to write the rows to")
    arguments = parser.parse_args(arguments)
    comm = MPI.COMM_WORLD
    rows = []
    table.say(comm, COLUMNS)
    for count, steps in SIZES.items():
        medians, ratios = measure(comm, count, steps)
        rows.append({"floats": count, "medians": medians, "ratios": ratios})
        rest = medians["callback"] - medians["exchange"] - medians["identity"]
        shown = [
            medians["numpy"],
            medians["ffi"],
            ratios["ffi"],
            medians["callback"],
            ratios["callback"],
            medians["exchange"],
            medians["identity"],
            rest,
        ]
        cells = [f"{x:.2f}" if i in (2, 4) else f"{x * 1e3:.3f} ms" for i, x in enumerate(shown)]
        table.say(comm, (str(count), *cells))
    table.write(comm, arguments.json, rows)


if __name__ == "__main__":
    main()
