"""What wagma_rma finds here, and whether it works: python -m wagma_rma, alone or under mpiexec."""

import platform
import statistics
import time
from collections.abc import Callable

import mpi4py
import numpy as np
from mpi4py import MPI

import wagma_rma
from wagma_rma.mpi.abi import LIBRARIES, abi
from wagma_rma.mpi.hosts import host_numbers
from wagma_rma.windows.choice import open_window
from wagma_rma.windows.shared import free_shared_memory
from wagma_rma.windows.verbs import Verbs

LEVELS = {
    MPI.THREAD_SINGLE: "MPI_THREAD_SINGLE",
    MPI.THREAD_FUNNELED: "MPI_THREAD_FUNNELED",
    MPI.THREAD_SERIALIZED: "MPI_THREAD_SERIALIZED",
    MPI.THREAD_MULTIPLE: "MPI_THREAD_MULTIPLE",
}
WORDS_BYTES, BULK_BYTES = 4096, 1 << 22  # of the window that is measured
REPEATS, BULK_REPEATS = 200, 20


def say(name: str, value: object) -> None:
    print(f"{name:22}{value}", flush=True)


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a call, after a tenth as many to warm up."""
    seconds = []
    for i in range(repeats + repeats // 10):
        started = time.perf_counter()
        call()
        if i >= repeats // 10:
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def measure(verbs: Verbs, rank: int) -> str:
    """Return how long the verbs take from this rank to another, as text."""
    load = median_seconds(lambda: verbs.load(rank, 0), REPEATS)
    add = median_seconds(lambda: verbs.fetch_add(rank, 64, 1), REPEATS)
    swap = median_seconds(lambda: verbs.compare_and_swap(rank, 128, 0, 0), REPEATS)
    read = median_seconds(lambda: verbs.read(rank, WORDS_BYTES, BULK_BYTES), BULK_REPEATS)
    return (
        f"load {load * 1e6:.1f} us, fetch_add {add * 1e6:.1f} us, compare_and_swap {swap * 1e6:.1f} us, "
        f"read {BULK_BYTES / read / 1e9:.2f} GB/s"
    )


def self_test(comm: MPI.Intracomm) -> str:
    """Do a group step of all ranks and a synchronisation. Return what is wrong, or "". Collective."""
    ranks = comm.size
    mean = (ranks - 1) / 2
    model = np.full(100_000, comm.rank, np.float32)
    with wagma_rma.GroupAverager(
        comm, model, group_size=ranks, quorum=ranks, sync_period=2, broadcast=False, timeout=60
    ) as averager:
        averager.average(model, out=model)
        outcome = averager.report.outcome.name
        group = (model == np.float32(mean)).all()
        averager.average(model, out=model)
        everyone = (model == np.float32(mean)).all()
    wrong = ""
    if outcome != "FRESH" or not group:
        wrong = f"the group step was {outcome}, its average {'right' if group else 'wrong'}"
    elif not everyone:
        wrong = "the mean of a synchronisation was wrong"
    return "; ".join(f"rank {rank}: {text}" for rank, text in enumerate(comm.allgather(wrong)) if text)


def main() -> int:
    """Print the report at rank 0; return the exit code, 1 if something is wrong. Collective."""
    comm = MPI.COMM_WORLD
    first = comm.rank == 0
    hosts = host_numbers(comm)
    names = comm.allgather(platform.node())
    level = MPI.Query_thread()
    shared = comm.allgather(free_shared_memory())
    if first:
        say("wagma_rma", f"{wagma_rma.__version__}, mpi4py {mpi4py.__version__}, numpy {np.__version__}")
        say("Python", f"{platform.python_version()}, {platform.platform()}")
        say("MPI library", MPI.Get_library_version().splitlines()[0].strip("\0 "))
        say("ABI", f"{abi()} ({LIBRARIES[abi()]})")
        say("thread level", LEVELS[level])
        for number in range(max(hosts) + 1):
            ranks = [rank for rank, host in enumerate(hosts) if host == number]
            free = shared[ranks[0]]
            say(
                f"host {number}",
                f"{names[ranks[0]]}: ranks {', '.join(map(str, ranks))}; shared memory free: "
                f"{'unknown' if free is None else f'{free / 1e6:.0f} MB'}",
            )
    if level < MPI.THREAD_MULTIPLE:
        if first:
            say("NOT OK", "wagma_rma needs MPI_THREAD_MULTIPLE; leave mpi4py.rc.thread_level at 'multiple'")
        return 1
    window, choice, progress = open_window(comm, hosts, WORDS_BYTES + BULK_BYTES, WORDS_BYTES)
    verbs = Verbs(window, 1, BULK_BYTES)
    if first:
        say("window", choice)
        say("progress", progress)
        near = next((rank for rank, host in enumerate(hosts) if rank and host == hosts[0]), None)
        far = next((rank for rank, host in enumerate(hosts) if host != hosts[0]), None)
        for name, rank in (("itself", 0), ("a rank of its host", near), ("another host", far)):
            if rank is not None:
                say(f"to {name}", measure(verbs, rank))
    # Meanwhile the other ranks wait as ranks that compute would: outside MPI, nearly all the time.
    window.waiter.wait_for(comm.Ibarrier().Test)
    window.free()
    wrong = self_test(comm)
    if first:
        say(
            "NOT OK" if wrong else "OK", wrong or "a group step and a synchronisation gave the right averages"
        )
    return 1 if wrong else 0
