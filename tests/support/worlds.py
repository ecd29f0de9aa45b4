"""Small worlds of ranks in this process, over plain memory.

Nobody waits for anybody where the quorum is 1, so one thread may play all ranks, one after another: a test
writes down an order of events, and there is no chance in it.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from wagma_rma.model.leaf_pointers import LeafPointers
from wagma_rma.model.structure import Structure
from wagma_rma.protocol import layout as layouts
from wagma_rma.protocol.announcements import Announcements
from wagma_rma.protocol.barrier import Barrier
from wagma_rma.protocol.departures import Departures
from wagma_rma.protocol.layout import Layout, most_children
from wagma_rma.protocol.protocol import Protocol
from wagma_rma.protocol.reduction import Reduction
from wagma_rma.protocol.rounds import most_peers
from wagma_rma.protocol.words import MOST_SLOTS, PINS_SHIFT
from wagma_rma.testing import ThreadMemory, ThreadWindow, Verbs
from wagma_rma.waiting.worker import Worker


def layout_of(leaves, group_size=2, records=8, slots=3, chunk_bytes=None, synchronized=(), hosts=1):
    """Return a layout for the leaves of a model; `chunk_bytes` makes chunks of about so many bytes."""
    structure = Structure("test", leaves)
    usual = layouts.CHUNK_BYTES, layouts.LEAST_CHUNK_BYTES
    if chunk_bytes is not None:
        layouts.CHUNK_BYTES, layouts.LEAST_CHUNK_BYTES = chunk_bytes, 1 << 40
    try:
        shapes = structure.dtype_numbers, structure.counts
        across = most_children(hosts), most_peers(hosts)
        return Layout(*shapes, group_size, records, slots, hosts > 1, synchronized, *across)
    finally:
        layouts.CHUNK_BYTES, layouts.LEAST_CHUNK_BYTES = usual


class Rank:
    """One rank: its window, its protocol, and what it says of itself."""

    def __init__(self, window, layout, groups, start, step, quorum, patience, hosts, group_period, overlap):
        self.window, self.layout = window, layout
        self.verbs = Verbs(window)
        # overlap: False, True (the rest of a step is performed at once), or "thread".
        self.worker = Worker() if overlap == "thread" else None
        how = quorum, patience, group_period, None, bool(overlap), self.worker
        self.protocol = Protocol(window, layout, groups, *how)
        self.snapshots = self.protocol.snapshots
        self.announcements = Announcements(window, layout)
        self.departures = Departures(window.rank, [0] * window.ranks, self.announcements, window.waiter)
        self.barrier = Barrier(window, layout, hosts)
        self.reduction = Reduction(window, layout, self.snapshots, hosts)
        self.pointers = LeafPointers(layout.order)
        self.pointers.hold(start, start)
        self.protocol.prepare(self.pointers)
        self.protocol.begin(step)

    def average(self, step, leaves, out=None):
        """Do one group step with some leaves, or functions that return them; return those of the average."""
        out = [np.full_like(leaf, 77) for leaf in leaves] if out is None else out
        self.pointers.hold(leaves, out)
        try:
            self.protocol.step(step, self.pointers)
        finally:
            self.pointers.release()
        return out

    def contribute(self, leaves):
        """Come to a synchronisation with some leaves."""
        self.pointers.hold(leaves, leaves)
        try:
            self.reduction.contribute(self.barrier.number + 1, self.pointers)
        finally:
            self.pointers.release()

    # The words of this rank's snapshots, from the outside.

    @property
    def newest(self):
        """Step and slot of the newest snapshot."""
        word = self.verbs.load(self.window.rank, self.layout.published)[0]
        return self.announcements.published([self.window.rank])[0], word % MOST_SLOTS

    def pin(self, pins=1):
        """Pin this rank's newest snapshot as another rank does; return its slot."""
        found = self.verbs.fetch_add(self.window.rank, self.layout.published, pins << PINS_SHIFT)
        return found % MOST_SLOTS

    def unpin(self, slot, pins=1):
        """Give pins on a slot back as another rank does."""
        self.verbs.fetch_add(self.window.rank, self.layout.retired + 8 * slot, -pins % (1 << 64))


PAIR = ([(0, 1)],)


def make_ranks(
    start,
    turn=PAIR,
    ranks=2,
    *,
    records=8,
    slots=3,
    chunk_bytes=None,
    step=0,
    quorum=1,
    patience=0.0,
    group_period=1,
    hosts=None,
    synchronized=(),
    overlap=False,
):
    """Return the ranks of a world, all of which have published the leaves `start` at `step`.

    Args:
        turn: the groups at group step 1, 2, ... of a full turn; a rank that is in none of them is alone then.
        hosts: the host of each rank; None: one host.
        synchronized: whether each leaf is averaged at synchronisations only; (): none is.
        overlap: whether exchanges overlap with computing; "thread": on a thread, else at once.
    """
    size = max(len(group) for groups in turn for group in groups)
    layout = layout_of(start, size, records, slots, chunk_bytes, synchronized, max(hosts or [0]) + 1)
    memory = ThreadMemory(ranks, layout.nbytes)
    made = []
    for rank in range(ranks):
        own = [next((group for group in groups if rank in group), (rank,)) for groups in turn]
        window = ThreadWindow(memory, rank)
        how = step, quorum, patience, hosts or [0] * ranks, group_period, overlap
        made.append(Rank(window, layout, own, [leaf.copy() for leaf in start], *how))
    return made


def alone(start, **options):
    """Return a rank that averages with nobody: what a step leaves of it is its snapshots."""
    return make_ranks(start, ([(0,)],), 1, **{"records": 0, **options})[0]


def together(calls):
    """Make calls in as many threads at the same time; return what each returned."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(60) for future in [pool.submit(call) for call in calls]]
