"""What an averager says of itself."""

import numpy as np

from tests.support.signals import PATIENT
from wagma_rma import GroupAverager, window_bytes
from wagma_rma.bindings import Leaves, NamedAverager

NAMES = (
    "group_size",
    "sync_period",
    "group_period",
    "quorum",
    "patience",
    "sync_quorum",
    "overlap",
    "window",
    "progress",
    "hosts",
    "bytes",
)


def attributes(comm):
    """Return what averagers with and without options say: [attributes, repr] of each."""
    told = []
    model = np.zeros(1000, np.float32)
    given = {"group_size": 2, "sync_period": 7, "group_period": 3, "quorum": 2, "patience": 0.5}
    given["overlap"] = True
    for options in ({}, given, {"window": "remote", "progress": "none"}):
        with GroupAverager(comm, model, timeout=PATIENT, **options) as averager:
            averager.average(model)
            told.append([{name: getattr(averager, name) for name in NAMES}, repr(averager)])
            refused = []
            for name in NAMES:
                try:
                    setattr(averager, name, 1)
                except AttributeError:
                    refused.append(name)
            assert refused == list(NAMES), refused
        assert repr(averager) == told[-1][1], "a closed averager says the same"
    with NamedAverager("Binding", comm, Leaves({"['w']": model}), timeout=PATIENT) as averager:
        told.append([{}, repr(averager)])
    return (
        told,
        window_bytes(model, comm.size),
        window_bytes(model, comm.size, group_size=2, sync_period=7, group_period=3),
    )
