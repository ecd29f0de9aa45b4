"""What a group step and a synchronisation cost against ranks and model size, and models that predict it.

    mpiexec -n 8 python -m benchmarks.scaling [--experiment groups synchronise predicted] [--json FILE]
    python -m benchmarks.namespaces --program scaling --hosts 4 --ranks 2 --experiment synchronise predicted

groups       group steps on one host, all ranks together. The model: a step takes

                 t = words + switch * max(0, P - cores) + bytes * 5 * N * max(1, P / cores)

             where `words` are the atomics of a step, `switch` is what it costs to give a core to another
             rank, and 5 N are the bytes that a rank reads and writes (exchange.py), through a core that
             P / cores ranks share. Group size is not in it: a member more costs some words in a record.
synchronise  synchronisations, on one host or several, and the model of prediction.py (see its docstring):
             `messages` of a rank, and `network`, the MB that a rank reads from other hosts
             (averager.report; - where this version counts none)
predicted    the same model with up to 65,536 ranks, --per-host on each host and a core for each, beside that
             of MPI's allreduce (Rabenseifner's): messages of a rank; what comes through a host's link, in
             models; the time; and the time of an allreduce over that of `wagma`. `blocks`: ranks that are
             neighbours share a host; `dealt`: they do not

Constants are fitted to all rows of an experiment together, by least squares of the relative errors, none
below 0; `error` is what is left in a row. Those of the network are measured, by messages between two hosts.
For `predicted`, --latency and the other options replace what was fitted or measured; what is neither that
nor given (on one host: latency and link) is that of a network of 100 Gbit/s.
"""

import argparse
import dataclasses
import os
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

from benchmarks import communicators, prediction, table
from wagma_rma import GroupAverager

FLOATS = [1000, 100_000, 1_000_000, 10_000_000]
GROUPS = ("ranks", "group", "floats", "measured", "predicted", "error")
SYNCHRONISE = (
    "ranks",
    "hosts",
    "floats",
    "messages",
    "network",
    "predicted",
    "measured",
    "predicted",
    "error",
)
PREDICTED = (
    "floats",
    "ranks",
    "hosts",
    "messages",
    "allreduce",
    "link",
    "link blocks",
    "link dealt",
    "wagma",
    "blocks",
    "dealt",
    "blocks/",
    "dealt/",
)
FEWEST, SECONDS = 7, 3.0
SYNC_PERIOD = 100  # one group step in so many synchronises, which a median does not see


def calls_of(count):
    """Return how many calls to measure with so many floats."""
    return int(np.clip(2e7 / count, FEWEST, 300))


def median_of_slowest(comm, calls, call):
    """Return the median seconds of a call, of the slowest rank; the first two are not counted.

    Once calls have taken SECONDS together, FEWEST of them are enough; all ranks add up the same times.
    """
    seconds = []
    while len(seconds) < calls + 2 and (len(seconds) < FEWEST + 2 or sum(seconds) < SECONDS):
        comm.Barrier()
        started = time.perf_counter()
        call()
        seconds.append(comm.allreduce(time.perf_counter() - started, MPI.MAX))
    return float(np.median(seconds[2:]))


def group_step(comm, group_size, count):
    """Return the median seconds of a group step."""
    model = np.zeros(count, np.float32)
    options = {"group_size": group_size, "quorum": group_size, "sync_period": SYNC_PERIOD}
    with GroupAverager(comm, model, **options) as averager:
        return median_of_slowest(comm, calls_of(count), lambda: averager.average(model, out=model))


def synchronisation(comm, count):
    """Return (median seconds of a synchronisation, bytes a rank got from other hosts, host of each rank)."""
    model = np.zeros(count, np.float32)
    with GroupAverager(comm, model, group_size=comm.size) as averager:
        seconds = median_of_slowest(comm, calls_of(count), lambda: averager.synchronize(model, out=model))
        network = comm.allreduce(averager.report.bytes_over_network) / comm.size
        return seconds, network, averager.hosts


def ranks_on_this_machine(comm):
    """Return how many ranks share this rank's cores, which those of several network namespaces do."""
    machine = Path("/proc/sys/kernel/random/boot_id").read_text()
    return comm.allgather(machine).count(machine)


def network_of(comm, hosts):
    """Return the latency and the bandwidth between rank 0 and the first rank of another host. Collective.

    Messages of 8 bytes and of 8 MB go there and back.
    """
    ends = 0, hosts.index(1)
    seconds = []
    for nbytes, calls in ((8, 200), (1 << 23, 10)):
        message = np.zeros(nbytes, np.uint8)
        times = []
        for _ in range(calls if comm.rank in ends else 0):
            started = time.perf_counter()
            if comm.rank == 0:
                comm.Send(message, ends[1])
                comm.Recv(message, ends[1])
            else:
                comm.Recv(message, 0)
                comm.Send(message, 0)
            times.append((time.perf_counter() - started) / 2)
        seconds.append(np.median(times) if times else 0.0)
        comm.Barrier()
    latency, large = comm.bcast(seconds)
    return {"latency": float(latency), "link": float(nbytes / (large - latency))}


def fit(matrix, measured, known=0.0):
    """Return the constants, none below 0, with the least squares of the relative errors.

    Args:
        known: the part of the measured times that depends on no constant.
    """
    wanted = (measured - known) / measured
    constants, used = np.zeros(matrix.shape[1]), np.any(matrix != 0, axis=0)
    while np.any(used):
        found, *_ = np.linalg.lstsq(matrix[:, used] / measured[:, None], wanted, rcond=None)
        if np.all(found >= 0):
            constants[used] = found
            break
        # Without the term that is most wrong, the others are fitted again.
        share = (matrix[:, used] / measured[:, None]).mean(axis=0) * found
        used[np.flatnonzero(used)[np.argmin(share)]] = False
    return constants


def sharing(ranks, cores):
    """Return (switches of the cores between ranks, ranks to a core)."""
    return max(0.0, ranks - cores), max(1.0, ranks / cores)


def error_of(row):
    return f"{100 * (row['predicted'] / row['seconds'] - 1):+.0f} %"


def milliseconds(seconds):
    return f"{seconds * 1e3:.3f} ms"


def groups(comm, cores):
    """Measure group steps, print them beside what the fitted model predicts, and return the rows."""
    rows = []
    for ranks, some in communicators.of_first(comm, communicators.powers_of_two(comm.size)):
        for size in (size for size in (2, 4, 8) if size <= ranks):
            for count in FLOATS:
                seconds = group_step(some, size, count) if some != MPI.COMM_NULL else None
                rows.append({"ranks": ranks, "group": size, "floats": count, "seconds": seconds})
    if comm.rank:
        return rows
    shares = [(row["floats"], *sharing(row["ranks"], cores)) for row in rows]
    matrix = np.array([(1.0, switches, 5 * 4 * count * each) for count, switches, each in shares])
    constants = fit(matrix, np.array([row["seconds"] for row in rows]))
    table.print_line(GROUPS)
    for row, predicted in zip(rows, matrix @ constants, strict=True):
        row["predicted"] = float(predicted)
        table.print_line((
            str(row["ranks"]), str(row["group"]), f"{row['floats']:,}",
            milliseconds(row["seconds"]), milliseconds(predicted), error_of(row),
        ))  # fmt: skip
    words, switch, nbytes = constants
    print(f"{words * 1e6:.1f} us, {switch * 1e6:.1f} us a switch, {1e-9 / nbytes:.1f} GB/s a core")
    return rows


def synchronise(comm, cores):
    """Do the same for synchronisations; return (rows, constants that were found, on rank 0)."""
    rows, matrix, known, found = [], [], [], {}
    for _, some in communicators.of_first(comm, communicators.powers_of_two(comm.size)):
        if some == MPI.COMM_NULL:
            continue
        switches, each = sharing(ranks_on_this_machine(some), cores)
        for count in FLOATS:
            seconds, network, placement = synchronisation(some, count)
            hosts = max(placement) + 1
            # Ranks that took no part before have not found it.
            if hosts > 1 and not (found := some.bcast(found)):
                found = network_of(some, placement)
            of = prediction.terms(some.size, -(-some.size // hosts), 4 * count)
            matrix.append((of["words"], switches, of["memory"] * each))
            known.append(of["latency"] * found["latency"] + of["link"] / found["link"] if found else 0.0)
            rows.append({
                "ranks": some.size, "hosts": hosts, "floats": count, "seconds": seconds,
                "messages": of["messages"], "network": network,
                "network predicted": of["link"] * hosts / some.size,
            })  # fmt: skip
    if comm.rank:
        return rows, None
    matrix, known = np.array(matrix), np.array(known)
    constants = fit(matrix, np.array([row["seconds"] for row in rows]), known)
    table.print_line(SYNCHRONISE)
    for row, predicted in zip(rows, known + matrix @ constants, strict=True):
        row["predicted"] = float(predicted)
        table.print_line((
            str(row["ranks"]), str(row["hosts"]), f"{row['floats']:,}", str(row["messages"]),
            f"{row['network'] / 1e6:.3f}" if row["network"] else "-",
            f"{row['network predicted'] / 1e6:.3f}" if row["hosts"] > 1 else "-",
            milliseconds(row["seconds"]), milliseconds(predicted), error_of(row),
        ))  # fmt: skip
    words, switch, memory = (float(constant) for constant in constants)
    print(
        f"fitted: {words * 1e6:.1f} us of words, {switch * 1e6:.1f} us a switch, {memory * 1e9:.3f} ns a byte"
    )
    if found:
        print(f"measured: {found['latency'] * 1e6:.1f} us a message, {found['link'] / 1e9:.2f} GB/s a link")
    found |= {"words": words} if words else {}
    return rows, found | ({"memory": 1 / memory} if memory else {})


def predicted(costs, per_host, floats):
    """Print what the model says of many ranks, and return its rows."""
    constants = [
        f"{costs.latency * 1e6:.3g} us a message", f"{costs.message * 1e6:.3g} us each further one",
        f"{costs.words * 1e6:.3g} us of words", f"{costs.near * 1e6:.3g} us a message in a host",
        f"{costs.memory / 1e9:.3g} GB/s a core",
        f"{costs.link / 1e9:.3g} GB/s a link",
    ]  # fmt: skip
    print(f"{per_host} ranks a host; {', '.join(constants)}")
    table.print_line(PREDICTED)
    rows = list(prediction.rows(per_host, [4 * count for count in floats], costs))
    for row in rows:
        table.print_line((
            f"{row['bytes'] // 4:,}", f"{row['ranks']:,}", f"{row['hosts']:,}",
            str(row["wagma messages"]), str(row["blocks messages"]),
            *(f"{row[f'{way} link'] / row['bytes']:.2f}" for way in ("wagma", "blocks", "dealt")),
            *(milliseconds(row[f"{way} seconds"]) for way in ("wagma", "blocks", "dealt")),
            *(f"{row[f'{way} seconds'] / row['wagma seconds']:.2f}" for way in ("blocks", "dealt")),
        ))  # fmt: skip
    return rows


def main(arguments=None):
    every = ["groups", "synchronise", "predicted"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", nargs="*", default=every, choices=every)
    parser.add_argument("--per-host", type=int, default=8, help="ranks on each host, in `predicted`")
    parser.add_argument("--floats", nargs="*", type=int, default=[1000, 10_000_000], help="in `predicted`")
    constants = parser.add_argument_group("constants of the model: seconds and bytes per second")
    names = ("latency", "message", "link", "memory", "words", "near")
    for name in names:
        constants.add_argument(f"--{name}", type=float)
    parser.add_argument("--json", help="file to write the rows to")
    arguments = parser.parse_args(arguments)
    comm = MPI.COMM_WORLD
    cores = len(os.sched_getaffinity(0))
    rows, found = {}, {}
    if "groups" in arguments.experiment:
        rows["groups"] = groups(comm, cores)
    if "synchronise" in arguments.experiment:
        rows["synchronise"], found = synchronise(comm, cores)
    if "predicted" in arguments.experiment and comm.rank == 0:
        given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
        costs = dataclasses.replace(prediction.Costs(), **{**found, **given})
        rows["predicted"] = predicted(costs, arguments.per_host, arguments.floats)
    table.write(comm, arguments.json, rows)


if __name__ == "__main__":
    main()
