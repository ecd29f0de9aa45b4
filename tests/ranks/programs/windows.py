"""The windows of real ranks."""

import ctypes
import importlib
import os
import random
import signal
import time
from pathlib import Path

from mpi4py import MPI

from tests.support.signals import until
from wagma_rma.mpi import abi, hosts
from wagma_rma.testing import Verbs, check_window
from wagma_rma.windows.remote import RemoteWindow
from wagma_rma.windows.shared import SharedWindow


def conformance(comm, sleeps, window):
    """Run the conformance suite over a window; ranks come late to its barriers."""
    rng = random.Random(comm.rank)
    windows = []

    def make_window(nbytes, words):
        if window == "remote":
            windows.append(RemoteWindow(comm, hosts.host_numbers(comm), nbytes, words))
        else:
            windows.append(SharedWindow(comm, nbytes))
        return windows[0]

    def barrier():
        if sleeps:
            time.sleep(rng.random() * 0.01)
        comm.Barrier()

    check_window(make_window, barrier)
    told = (windows[0].hosts, windows[0].progress) if window == "remote" else None
    windows[0].free()
    return told


def counting(comm, times):
    """Count with additions and with swaps on words of every rank at once; return what each word holds."""
    nbytes, words = 1 << 16, 4096
    window = RemoteWindow(comm, hosts.host_numbers(comm), nbytes, words)
    verbs = Verbs(window, 1, 64)
    comm.Barrier()
    for i in range(times):
        for rank in range(comm.size):
            verbs.fetch_add(rank, 0, 1)
            seen = i
            while (found := verbs.compare_and_swap(rank, 64, seen, seen + 1)) != seen:
                seen = found
            verbs.fetch_max(rank, 128, i * comm.size + comm.rank)
    comm.Barrier()
    held = [verbs.load(comm.rank, word)[0] for word in (0, 64, 128)]
    comm.Barrier()
    window.free()
    return held


def silent(comm, batch):
    """Operate on words of this host while a stopped rank of the other is to answer; return who is named."""
    nbytes, words = 1 << 16, 4096
    window = RemoteWindow(comm, hosts.host_numbers(comm), nbytes, words)
    verbs, heard = Verbs(window, 1, 64), []
    pids = comm.allgather(os.getpid())
    near = window.hosts.index(window.hosts[0], 1)
    far = next(rank for rank, host in enumerate(window.hosts) if host != window.hosts[0])
    if comm.rank == 0:

        def watcher(seconds, rank):
            heard.append(rank)
            os.kill(pids[far], signal.SIGCONT)

        window.waiter.watcher = watcher
        os.kill(pids[far], signal.SIGSTOP)
        until(lambda: Path(f"/proc/{pids[far]}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        if batch:
            verbs.several([("fetch_add", rank, 0, 1) for rank in (near, far)])
        else:
            verbs.start_reads(0, [(far, words, 64)])
            verbs.fetch_add(near, 0, 1)
            verbs.complete_reads(0)
        window.waiter.watcher = None
    comm.Barrier()
    window.free()
    return heard, far


def mpi_errors(comm):
    """Let each function of MPI that verbs call fail.

    Return what is raised, and what two words hold at last: one on which an addition failed, one on which a
    later addition did not.
    """
    nbytes, words = 1 << 16, 4096
    window = RemoteWindow(comm, hosts.host_numbers(comm), nbytes, words)
    verbs, other = Verbs(window, 1, 64), (comm.rank + 1) % comm.size
    functions = table()
    fails = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: MPI.ERR_OTHER)
    told = []
    for place, verb in (
        (1 if abi.abi() == "openmpi" else 0, lambda: verbs.fetch_add(other, 0, 1)),
        (1, lambda: verbs.compare_and_swap(other, 64, 0, 1)),
        (2, lambda: verbs.load(other, 128)),
        (3, lambda: verbs.read(other, words, 64)),
    ):
        comm.Barrier()
        right, functions[place] = functions[place], ctypes.cast(fails, ctypes.c_void_p).value
        try:
            verb()
            told.append("nothing")
        except MPI.Exception as error:
            told.append([error.Get_error_class() == MPI.ERR_OTHER, *error.__notes__])
        functions[place] = right
    comm.Barrier()
    verbs.fetch_add(other, 192, 5)
    comm.Barrier()
    held = [verbs.load(comm.rank, word)[0] for word in (0, 192)]
    window.free()
    return told, held


def bells(comm):
    """Operate on a word of every rank from rank 0; return this rank's host and what its bell holds then."""
    nbytes, words = 1 << 16, 4096
    window = RemoteWindow(comm, hosts.host_numbers(comm), nbytes, words)
    verbs = Verbs(window, 1, 64)
    comm.Barrier()
    if comm.rank == 0:
        for rank in range(comm.size):
            verbs.fetch_add(rank, 0, 1)
    comm.Barrier()
    bell = verbs.load(comm.rank, words)[0]  # it lies behind the words
    comm.Barrier()
    window.free()
    return window.hosts[comm.rank], bell


def table():
    """Return the functions of rma.h in their order, as a table that can be written to."""
    capsule = importlib.import_module(f"wagma_rma.mpi.rma_{abi.abi()}").table
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.cast(address(capsule, b"wagma_rma.mpi.rma"), ctypes.POINTER(ctypes.c_void_p))
