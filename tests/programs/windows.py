"""The windows of real ranks."""

import random
import time

from wagma_rma import hosts
from wagma_rma.remote_window import RemoteWindow
from wagma_rma.shared_window import SharedWindow
from wagma_rma.testing import check_window


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
