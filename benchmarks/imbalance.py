"""What late ranks cost the others: the two experiments of the papers and none late, for five ways to average.

    mpiexec -n 32 python -m benchmarks.imbalance [--experiment balanced jitter2 skew ...] [--json FILE]

balanced    all ranks come together
jitter2     a step computes 100 ms, which vary by 2 % (a normal distribution's standard deviation), asleep
jitter5     the same by 5 %
skew        rank r comes r ms late to each step (eager-SGD's microbenchmark, Li et al., PPoPP 2020); `in the
            call` is the mean time that a rank spends in it
stragglers  a step computes 100 ms, two ranks drawn for each step 320 ms longer (WAGMA-SGD, Li et al., TPDS
            2021, section 5), asleep, so that ranks may outnumber cores

`of ideal` is the share of the time between synchronisations that ranks compute: the step rate, of that
without any exchange; `with sync` is the same with the time in synchronisations.

wagma        groups near the square root of the ranks, quorum 1, patience by default: a rank waits for others
             about as long as the exchange takes or for a tenth of what it computes, and no longer
majority     the same with more than half of the group as quorum
synchronous  the same with the whole group as quorum
allreduce    MPI_Allreduce of all ranks at each step
local        no exchange between synchronisations

    mpiexec -n 8 python -m benchmarks.imbalance --experiment elastic [--slow "half speed" ...] [--steps 200]

elastic      ranks that are behind jump to the next synchronisation (`sync_quorum`), against ranks that
             perform all steps (None). Steps of 100 ms, a synchronisation every 10: one rank takes twice as
             long (half speed); two ranks drawn for each step come 320 ms later (two late); log-normal times,
             sigma 0.5, median 100 ms. `of none's` is the time of the run over that with None; `waited` the
             share of the run in which ranks wait, and `skipped` the steps left out, means over all ranks but
             the slowest, for which `slowest` tells the same; `fresh`, `late` and `missed` are shares of the
             group steps; `trained` is the share of the steps of all ranks that were performed

Where no experiment is named, all but `elastic` are run.
"""

import argparse
import time
from functools import partial

import numpy as np
from mpi4py import MPI

from benchmarks import elastic, step_times, table
from wagma_rma import GroupAverager
from wagma_rma.groups.choice import choose

SYNC_PERIOD = 10
BALANCED = 20  # times as many steps where nobody is late
WAYS = ("wagma", "majority", "synchronous", "allreduce", "local")
SHARES = ("of ideal", "with sync")
COUNTS = ("fresh", "late", "missed")
COLUMNS = ("experiment", "way", "in the call", "median", *SHARES, *COUNTS)


class Allreduce:
    """MPI's allreduce behind the averager's calls."""

    def __init__(self, comm, model):
        self._comm, self._total = comm, np.empty_like(model)

    def average(self, model, out):
        self._comm.Allreduce(model, self._total, MPI.SUM)
        np.divide(self._total, self._comm.size, out=out)

    def close(self):
        pass


def ways(comm, patience):
    """Return the ways to average, by name."""
    size = choose(comm.size, None).size

    def groups(**options):
        options |= {"sync_period": SYNC_PERIOD, "patience": patience}
        return lambda model: GroupAverager(comm, model, **options)

    return {
        "wagma": groups(group_size=size),
        "majority": groups(group_size=size, quorum=size // 2 + 1),
        "synchronous": groups(group_size=size, quorum=size),
        "allreduce": lambda model: Allreduce(comm, model),
        "local": groups(group_size=1),
    }


def balanced(comm, averager, model, turns):
    """Return the seconds in the call of each step but the synchronisations."""
    return skew(comm, averager, model, BALANCED * turns, 0.0)


def skew(comm, averager, model, turns, later=1e-3):
    """Return the same, where each rank comes so much later than the one before it."""
    seconds = []
    for step in range(1, turns * SYNC_PERIOD + 1):
        comm.Barrier()
        if comm.rank * later:
            time.sleep(comm.rank * later)
        started = time.perf_counter()
        averager.average(model, out=model)
        if step % SYNC_PERIOD:
            seconds.append(time.perf_counter() - started)
    return seconds, None


def computing(averager, model, turns, compute_seconds):
    """Return the same, and the shares of the time, without and with synchronisations, that are computing.

    Args:
        compute_seconds: returns for how long this rank computes before a step.
    """
    seconds, computed, total = [], np.zeros(2), np.zeros(2)
    for step in range(1, turns * SYNC_PERIOD + 1):
        began = time.perf_counter()
        time.sleep(compute_seconds(step))
        started = time.perf_counter()
        averager.average(model, out=model)
        ended = time.perf_counter()
        if step % SYNC_PERIOD:
            seconds.append(ended - started)
        counts = np.array([step % SYNC_PERIOD != 0, True])
        computed += counts * (started - began)
        total += counts * (ended - began)
    return seconds, computed / total


def stragglers(comm, averager, model, turns):
    """Return the same."""

    return computing(
        averager,
        model,
        turns,
        lambda step: step_times.drawn("two late", comm.size, step, jitter=0)[comm.rank],
    )


def jitter(share, comm, averager, model, turns):
    """Return the same."""
    return computing(
        averager,
        model,
        turns,
        lambda step: step_times.drawn("balanced", comm.size, step, jitter=share)[comm.rank],
    )


EXPERIMENTS = {
    "balanced": balanced,
    "jitter2": partial(jitter, 0.02),
    "jitter5": partial(jitter, 0.05),
    "skew": skew,
    "stragglers": stragglers,
}


def number_or_auto(text):
    return text if text == "auto" else float(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = [*EXPERIMENTS, "elastic"]
    parser.add_argument("--experiment", nargs="*", default=list(EXPERIMENTS), choices=choices)
    parser.add_argument("--ways", nargs="*", default=WAYS, choices=WAYS)
    parser.add_argument("--patience", type=number_or_auto, default="auto", help="as GroupAverager's")
    parser.add_argument("--floats", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3, help="synchronisations in each run")
    parser.add_argument("--slow", nargs="*", default=elastic.KINDS, choices=elastic.KINDS,
                        help="kinds of slowness, for elastic")  # fmt: skip
    parser.add_argument("--steps", type=int, default=200, help="for elastic")
    parser.add_argument("--json", help="file to write the rows to")
    arguments = parser.parse_args(arguments)
    comm = MPI.COMM_WORLD
    rows = []

    experiments = [name for name in arguments.experiment if name != "elastic"]
    if experiments:
        table.say(comm, COLUMNS)
    for experiment in experiments:
        for way, make in ways(comm, arguments.patience).items():
            if way not in arguments.ways:
                continue
            model = np.zeros(arguments.floats, np.float32)
            averager = make(model)
            comm.Barrier()
            seconds, shares = EXPERIMENTS[experiment](comm, averager, model, arguments.turns)
            counts = getattr(averager, "statistics", None)
            told = comm.gather((seconds, shares, counts and (counts.fresh, counts.late, counts.missed)))
            averager.close()
            if told is None:
                continue
            every = np.concatenate([seconds for seconds, _, _ in told])
            row = {"experiment": experiment, "way": way, "mean": every.mean(), "median": np.median(every)}
            if shares is not None:
                means = np.mean([shares for _, shares, _ in told], axis=0)
                row |= dict(zip(SHARES, means.tolist(), strict=True))
            if counts:
                kinds = np.sum([kinds for _, _, kinds in told], axis=0)
                row |= dict(zip(COUNTS, (kinds / kinds.sum()).tolist(), strict=True))
            rows.append(row)
            table.say(
                comm,
                (
                    experiment,
                    way,
                    f"{row['mean'] * 1e3:.3f} ms",
                    f"{row['median'] * 1e3:.3f} ms",
                    *(f"{100 * row[name]:.1f} %" if name in row else "-" for name in (*SHARES, *COUNTS)),
                ),
            )
    if "elastic" in arguments.experiment:
        rows += elastic.run(comm, arguments.slow, arguments.floats, arguments.steps)
    table.write(comm, arguments.json, rows)


if __name__ == "__main__":
    main()
