"""How the library sees the hosts that ranks of one machine pass for."""

import numpy as np

from wagma_rma import GroupAverager


def seen(comm):
    """Return the hosts that an averager finds, and the bytes that a step of all ranks reads of others."""
    model = {"w": np.full(1000, float(comm.rank))}
    with GroupAverager(comm, model, group_size=comm.size, quorum=comm.size) as averager:
        averager.average(model)
        return [list(averager.hosts), averager.statistics.bytes_over_network]
