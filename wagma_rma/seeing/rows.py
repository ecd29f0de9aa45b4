"""What a rank tells of its pace, read from the bytes of its row (protocol/row.pyx)."""

import dataclasses
import struct

import numpy as np
import numpy.typing as npt

from wagma_rma.protocol.row import FORMAT, MOST_TIMES, unpacked_state


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What one rank tells. Times of day are seconds on the clock of its host.

    Attributes:
        step: the last one that it has done.
        synchronized_step: the last synchronised step.
        activity: what it does now; a value of protocol.row.ACTIVITIES.
        began: when its last call began.
        ended: when the last of its calls that has ended did.
        synchronized: when its last synchronisation ended.
        compute, call, waited: means, seconds: between two calls, in a call, and in a call for other ranks.
        late: the share of its group steps that were LATE.
        times: the last times between two calls, seconds; the oldest first.
        process: waiting.processes.
        host: the name of its host.
    """

    step: int
    synchronized_step: int
    activity: str
    began: float
    ended: float
    synchronized: float
    compute: float
    call: float
    waited: float
    late: float
    times: npt.NDArray[np.float32]
    process: int
    host: str


def read_row(row: bytes) -> Row | None:
    """Return what a row says; None if it was being written while it was read, or has not begun."""
    version, state, began, ended, compute, call, waited, late, synchronized, last, times, process, host = (
        struct.unpack(FORMAT, row)
    )
    if not version or version != last % (1 << 32):
        return None
    step, since, activity = unpacked_state(state)
    count = last >> 32
    # The upper halves of float32, the n-th at n mod MOST_TIMES.
    ring = np.frombuffer(times, np.uint16).astype(np.uint32) << 16
    in_order = np.roll(ring, -count) if count > MOST_TIMES else ring[:count]
    return Row(
        step=step,
        synchronized_step=step - since,
        activity=activity,
        began=began,
        ended=ended,
        synchronized=synchronized,
        compute=compute,
        call=call,
        waited=waited,
        late=late,
        times=in_order.view(np.float32),
        process=process,
        host=host.split(b"\0")[0].decode(errors="replace"),
    )
