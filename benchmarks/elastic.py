"""Ranks that skip steps to be in time for a synchronisation, against ranks that never do: for imbalance.py.

Each rank pads its k-th step, asleep, to a length that depends on k and the rank alone, so it is the same for
every `sync_quorum`. A rank that skips steps trains less often; `trained` says how much is left.
"""

import inspect
import time

import numpy as np

from benchmarks import step_times, table
from wagma_rma import GroupAverager

SYNC_PERIOD = 10
COLUMNS = (
    "slow", "sync_quorum", "time", "of none's", "waited", "slowest", "fresh", "late", "missed", "skipped",
    "slowest", "trained",
)  # fmt: skip


KINDS = ("half speed", "two late", "log-normal")


def quorums(ranks):
    """Return the values of sync_quorum that this version knows; the others are compared with the first."""
    known = "sync_quorum" in inspect.signature(GroupAverager).parameters
    return [None, ranks // 2, 1] if known else [None]


def measure(comm, kind, quorum, floats, steps):
    """Return a row of the table on rank 0, from a run of so many steps. Collective."""
    model = np.zeros(floats, np.float32)
    options = {} if quorum is None else {"sync_quorum": quorum}
    with GroupAverager(comm, model, sync_period=SYNC_PERIOD, **options) as averager:
        comm.Barrier()
        began, calls, computed = time.perf_counter(), 0, 0.0
        while averager.step < steps:
            calls += 1
            seconds = step_times.drawn(kind, comm.size, calls, jitter=0)[comm.rank]
            time.sleep(seconds)
            computed += seconds
            averager.average(model, out=model)
        took = time.perf_counter() - began
        counts = averager.statistics
    told = comm.gather({
        "took": took, "waited": counts.seconds_waited / took, "calls": calls, "pace": computed / calls,
        "outcomes": (counts.fresh, counts.late, counts.missed), "skipped": getattr(counts, "skipped", 0),
    })  # fmt: skip
    if told is None:
        return None
    slowest = max(range(comm.size), key=lambda rank: told[rank]["pace"])
    others = [rank for rank in range(comm.size) if rank != slowest]
    outcomes = np.sum([rank["outcomes"] for rank in told], axis=0)
    fresh, late, missed = outcomes / max(1, outcomes.sum())
    return {
        "slow": kind,
        "sync_quorum": quorum,
        "seconds": max(rank["took"] for rank in told),
        "waited": float(np.mean([told[rank]["waited"] for rank in others])),
        "waited slowest": told[slowest]["waited"],
        "fresh": fresh,
        "late": late,
        "missed": missed,
        "skipped": float(np.mean([told[rank]["skipped"] for rank in others])),
        "skipped slowest": told[slowest]["skipped"],
        "trained": sum(rank["calls"] for rank in told) / (steps * comm.size),
    }


def shown(row):
    def share(name):
        return f"{100 * row[name]:.1f} %"

    return (
        row["slow"], str(row["sync_quorum"]), f"{row['seconds']:.2f} s", f"{row['of none']:.2f}",
        *map(share, ("waited", "waited slowest", "fresh", "late", "missed")),
        f"{row['skipped']:.1f}", str(row["skipped slowest"]), share("trained"),
    )  # fmt: skip


def run(comm, kinds, floats, steps):
    """Measure each kind of slowness with each sync_quorum; print a table and return its rows. Collective."""
    rows = []
    table.say(comm, COLUMNS)
    for kind in kinds:
        none = None
        for quorum in quorums(comm.size):
            row = measure(comm, kind, quorum, floats, steps)
            if row is not None:
                none = none or row["seconds"]
                rows.append(row | {"experiment": "elastic", "of none": row["seconds"] / none})
                table.say(comm, shown(rows[-1]))
    if len(quorums(comm.size)) == 1 and comm.rank == 0:
        print("this version's GroupAverager has no sync_quorum: all ranks perform all steps")
    return rows
