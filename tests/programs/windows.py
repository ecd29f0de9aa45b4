"""The windows of real ranks."""

import random
import time

from wagma_rma.shared_window import SharedWindow
from wagma_rma.testing import check_window


def conformance(comm, naps):
    """Run the conformance suite over a shared window; ranks come late to its barriers."""
    rng = random.Random(comm.rank)
    windows = []

    def make_window(nbytes, words):
        windows.append(SharedWindow(comm, nbytes, words))
        return windows[0]

    def barrier():
        if naps:
            time.sleep(rng.random() * 0.01)
        comm.Barrier()

    check_window(make_window, barrier)
    windows[0].free()
    return True
