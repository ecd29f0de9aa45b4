"""A synchronisation of all ranks against MPI's allreduce, paired in one run; and against an earlier version.

    mpiexec -n 16 python -m benchmarks.synchronise [--floats 1000 ...] [--communicators 2 4 ...] [--json FILE]
    python -m benchmarks.namespaces --program synchronise --hosts 2 --ranks 2
    python -m benchmarks.synchronise --against TREE [--ranks 16] [--hosts 2] [--rounds 5] [--floats 1000 ...]

All ranks of a communicator come together. Times are medians of the slowest rank's, ratios medians of the
ratios of neighbours in time; above 1 says that `wagma` is faster. The ways take turns of one call, or of ten
where calls are short (exchange.py says why). Communicators have the first 2, 4, 8, ... ranks of the launch;
over several hosts all of them. `-` stands where the windows of so many ranks do not fit into the memory.

wagma      averager.synchronize(model, out=model)
allreduce  MPI_Allreduce and the division that makes a mean of the sum

Over several hosts, per call, in MB:

network    bytes that a rank has read from other hosts, mean over the ranks (averager.report)
host       the same, of all ranks of a host together, of the host that reads most
link       bytes that came through a host's network interfaces, of the host with most, with `wagma` and with
           `allreduce`; other programs' bytes count too, those of a network that bypasses the kernel do not

--against TREE starts this program itself, for each communicator `rounds` times with this checkout and as
often with the built checkout TREE, in turns. before/now is the median of the ratios of neighbours in time,
least and most are the extremes. Ranks that share cores are told to yield them (wagma_rma/HOSTS.md, "More
ranks than cores").
"""

import argparse
from pathlib import Path

import numpy as np
from mpi4py import MPI

import wagma_rma
from benchmarks import against, communicators, table
from benchmarks.paired import times_of
from wagma_rma import GroupAverager

FLOATS = [1000, 10_000, 100_000, 1_000_000, 10_000_000]
COLUMNS = (
    "ranks",
    "hosts",
    "floats",
    "wagma",
    "allreduce",
    "/allred",
    "network",
    "host",
    "link",
    "link, allred",
)
SMALL, CALLS = 10_000, 10  # floats up to which a way does so many calls when it is its turn
COUNTED = 3  # calls over which bytes are counted


def received(lines=None):
    """Return the bytes that came through this host's network interfaces, but for the loopback."""
    lines = lines or Path("/proc/net/dev").read_text().splitlines()[2:]
    counts = {name.strip(): counts.split() for name, _, counts in (line.partition(":") for line in lines)}
    return sum(int(fields[0]) for name, fields in counts.items() if name != "lo")


def on_one_host(comm):
    """Return whether all ranks share memory. Collective."""
    host = comm.Split_type(MPI.COMM_TYPE_SHARED)
    ranks = host.size
    host.Free()
    return comm.allreduce(ranks, MPI.MIN) == comm.size


def most_of_hosts(comm, hosts, of_this_rank):
    """Return the largest of the hosts' sums of what their ranks have. Collective."""
    every = comm.allgather(of_this_rank)
    return max(np.bincount(hosts, weights=every))


def bytes_of(comm, averager, ways):
    """Return the bytes of a call that go over the network, where there are several hosts."""
    hosts = averager.hosts
    if max(hosts) == 0:
        return {}
    counts = {}
    looks = hosts.index(hosts[comm.rank]) == comm.rank
    for way, call in ways.items():
        comm.Barrier()
        before = received()
        for _ in range(COUNTED):
            call()
        comm.Barrier()
        counts[f"link {way}"] = most_of_hosts(comm, hosts, looks * (received() - before)) / COUNTED
    read = averager.report.bytes_over_network
    return counts | {"network": comm.allreduce(read) / comm.size, "host": most_of_hosts(comm, hosts, read)}


def measure(comm, count, seconds, options):
    """Return a row of the table; without times where memory does not suffice. Collective."""
    model = np.full(count, comm.rank, np.float32)
    total = np.empty_like(model)

    def allreduce():
        comm.Allreduce(model, total, MPI.SUM)
        np.divide(total, comm.size, out=model)

    row = {"ranks": comm.size, "hosts": 1, "floats": count}
    try:
        averager = GroupAverager(comm, model, group_size=comm.size, broadcast=False, **options)
    except MemoryError:
        return row
    with averager:
        ways = {"wagma": lambda: averager.synchronize(model, out=model), "allreduce": allreduce}
        times = times_of(comm, ways, CALLS if count <= SMALL else 1, seconds)
        assert np.all(model == (comm.size - 1) / 2)
        row["hosts"] = max(averager.hosts) + 1
        row |= {way: float(np.median(column)) for way, column in times.items()}
        row["ratio"] = float(np.median(times["allreduce"] / times["wagma"]))
        return row | bytes_of(comm, averager, ways)


def shown(row):
    def cell(name, scale, places, unit=""):
        # No bytes means that this version counts none.
        return f"{row[name] * scale:.{places}f}{unit}" if row.get(name) else "-"

    return (
        str(row["ranks"]), str(row["hosts"]), f"{row['floats']:,}",
        cell("wagma", 1e3, 4, " ms"), cell("allreduce", 1e3, 4, " ms"), cell("ratio", 1, 2),
        *(cell(name, 1e-6, 3) for name in ("network", "host", "link wagma", "link allreduce")),
    )  # fmt: skip


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--floats", nargs="*", type=int, default=FLOATS)
    parser.add_argument("--communicators", nargs="*", type=int, help="how many ranks each has")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row, about")
    parser.add_argument("--window", default="auto", choices=["auto", "shared", "remote"])
    parser.add_argument("--json", help="file to write the rows to")
    against.add_options(parser)
    arguments = parser.parse_args(arguments)
    if arguments.against:
        against.compare(arguments)
        return
    comm = MPI.COMM_WORLD
    sizes = arguments.communicators
    if not sizes:
        sizes = communicators.powers_of_two(comm.size) if on_one_host(comm) else [comm.size]
    rows = []
    table.say(comm, COLUMNS, 12)
    for _, some in communicators.of_first(comm, sizes):
        for count in arguments.floats if some != MPI.COMM_NULL else []:
            rows.append(measure(some, count, arguments.seconds, {"window": arguments.window}))
            table.say(comm, shown(rows[-1]), 12)
    table.write(comm, arguments.json, rows, package=str(Path(wagma_rma.__file__).resolve().parent))


if __name__ == "__main__":
    main()
