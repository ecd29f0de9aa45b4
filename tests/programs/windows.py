"""The windows of real ranks."""

import random
import time

from wagma_rma import hosts
from wagma_rma.remote_window import RemoteWindow
from wagma_rma.shared_window import SharedWindow
from wagma_rma.testing import Verbs, check_window


def conformance(comm, naps, window):
    """Run the conformance suite over a window; ranks come late to its barriers."""
    rng = random.Random(comm.rank)
    windows = []

    def make_window(nbytes, words):
        if window == "remote":
            windows.append(RemoteWindow(comm, hosts.host_numbers(comm), nbytes, words))
        else:
            windows.append(SharedWindow(comm, nbytes, words))
        return windows[0]

    def barrier():
        if naps:
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
