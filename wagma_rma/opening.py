"""The collective construction of an averager: check, agree, allocate, publish the common start."""

import contextlib
import platform
import threading
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mpi4py import MPI

from wagma_rma import dropped
from wagma_rma.accelerators import Accelerators
from wagma_rma.buffers import Buffers
from wagma_rma.memory import Memory
from wagma_rma.model.leaf_pointers import LeafPointers
from wagma_rma.model.selection import selected
from wagma_rma.model.structure import Structure
from wagma_rma.mpi import hosts as mpi_hosts
from wagma_rma.mpi.agreement import Facts, agree
from wagma_rma.options import Options, checked_bool
from wagma_rma.protocol.announcements import Announcements
from wagma_rma.protocol.barrier import Barrier
from wagma_rma.protocol.calls import Calls
from wagma_rma.protocol.departures import Departures
from wagma_rma.protocol.events import Events
from wagma_rma.protocol.layout import Layout
from wagma_rma.protocol.protocol import Protocol
from wagma_rma.protocol.reduction import Reduction
from wagma_rma.protocol.synchronization import Synchronizer
from wagma_rma.seeing.looker import Looker
from wagma_rma.seeing.pages import ROW_AT, open_page
from wagma_rma.seeing.trace import About
from wagma_rma.stepping import deliver
from wagma_rma.tracing import Tracer, chosen_path, steps_kept
from wagma_rma.waiting.interrupts import Interrupts
from wagma_rma.waiting.processes import own_process
from wagma_rma.waiting.waiter import Waiter
from wagma_rma.waiting.watch import Watch
from wagma_rma.waiting.worker import Worker
from wagma_rma.windows.choice import is_remote, open_window
from wagma_rma.windows.remote import RemoteWindow
from wagma_rma.windows.shared import SharedWindow

POLL_EVERY = 200e-6  # seconds, of a trace that is gathered
BLOCK = 1 << 28  # bytes that one collective of MPI moves at most: its counts are 32 bits wide


class Parts(NamedTuple):
    """What an averager is made of."""

    identity: str
    """A name of the averager, the same at all its ranks."""
    comm: MPI.Intracomm
    """A duplicate of the user's, freed at the end."""
    hosts: tuple[int, ...]
    """The number of each rank's host."""
    options: Options
    groups: list[tuple[int, ...]]
    """This rank's group at group step 1, 2, ... of a full turn."""
    structure: Structure
    containers: Any
    """Containers like the model's, without leaves."""
    layout: Layout
    window: SharedWindow | RemoteWindow
    protocol: Protocol
    announcements: Announcements
    departures: Departures
    pointers: LeafPointers
    buffers: Buffers
    memory: Memory
    accelerators: Accelerators
    interrupts: Interrupts
    worker: Worker | None
    """The thread behind the program's back, where exchanges overlap with computing."""
    watch: Watch
    synchronizer: Synchronizer
    looker: Looker
    tracer: Tracer | None


def check_mpi(operation: str, comm: object) -> None:
    """Check that MPI can be used, and `comm`. Local.

    Raises:
        RuntimeError: MPI is not initialised, finalised, or below MPI_THREAD_MULTIPLE.
        TypeError: `comm` is no intracommunicator.
    """
    if not MPI.Is_initialized():
        raise RuntimeError(
            f"{operation}: MPI is not initialised; import mpi4py.MPI, or call MPI.Init_thread() "
            "if mpi4py.rc.initialize is off"
        )
    if MPI.Is_finalized():
        raise RuntimeError(f"{operation}: MPI has been finalised; make the averager before")
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise RuntimeError(
            f"{operation}: MPI provides thread level {MPI.Query_thread()}, less than "
            f"MPI_THREAD_MULTIPLE ({MPI.THREAD_MULTIPLE}); leave mpi4py.rc.thread_level at 'multiple'"
        )
    if not isinstance(comm, MPI.Intracomm) or comm == MPI.COMM_NULL:
        raise TypeError(
            f"{operation}: comm is {comm!r}; pass an mpi4py intracommunicator such as MPI.COMM_WORLD"
        )


def open_averager(
    operation: str, comm: MPI.Intracomm, model: Any, broadcast: bool, busy: threading.Lock, **options: Any
) -> Parts:
    """Make the parts of an averager. Collective.

    Args:
        operation: what is being made, for errors.
        model, broadcast, options: as GroupAverager's.
        busy: a lock, held by any thread that uses the averager.

    Raises:
        As GroupAverager.
    """
    check_mpi(operation, comm)
    # From here on a rank that finds something wrong still takes part until all know.
    own, request = comm.Idup()
    Waiter().wait_for(request.Test)
    try:
        return _open(operation, own, model, broadcast, busy, options)
    except Exception:
        own.Free()
        raise


def _open(
    operation: str,
    comm: MPI.Intracomm,
    model: Any,
    broadcast: bool,
    busy: threading.Lock,
    chosen: dict[str, Any],
) -> Parts:
    # 1. All ranks agree on the model and the options.
    hosts = mpi_hosts.host_numbers(comm)  # looked up in its module, where tests replace it
    options, structure = _agreed(operation, comm, hosts, model, broadcast, chosen)
    trace = comm.bcast(options.trace)  # rank 0's environment counts
    # 2. All allocate a window, and give back those that nobody uses any more.
    dropped.give_back(comm)
    identity = dropped.new_identity(comm)
    groups = options.groups(comm.rank)
    layout = options.layout(structure, is_remote(hosts, options.window), max(hosts) + 1)
    size = layout.nbytes, layout.words_bytes
    window = open_window(comm, hosts, *size, options.window, options.progress).window
    # 3. Each makes what needs its own memory only; a rank that has too little tells the others.
    found: Facts | Exception = {}
    undo = contextlib.ExitStack()
    undo.callback(window.free)
    try:
        barrier = Barrier(window, layout, hosts, options.sync_quorum, options.sync_period)
        leader = barrier.leader if barrier.elastic else -1
        calls = Calls(window, layout, leader, options.sync_period, options.group_period)
        worker = Worker() if options.overlap else None
        how = options.quorum, options.patience, options.group_period, calls, options.overlap, worker
        protocol = Protocol(window, layout, groups, *how)
        if trace is not None:
            protocol.events = Events(layout.group_size, steps_kept(comm.size))
        reduction = Reduction(window, layout, protocol.snapshots, hosts)
        pointers = LeafPointers(layout.order)
        buffers = Buffers(protocol.snapshots, layout, structure)
        accelerators = Accelerators(protocol.snapshots, layout, structure, comm.rank)
        undo.callback(accelerators.close)
        memory = Memory(structure, buffers, accelerators, busy)
        containers = structure.rebuild(model, [None] * layout.leaf_count)
        start = memory.hold(operation, model, model if broadcast else None, start=True)
        undo.callback(pointers.release)
        pointers.hold(start.sources, start.targets)
        first = protocol.prepare(pointers)
    except Exception as error:
        found = error
    try:
        agree(comm, operation, found)
    except Exception:
        undo.close()
        raise
    # 4. Each publishes the common start, before anyone can look for it.
    if broadcast:
        for part in first:
            for begin in range(0, len(part), BLOCK):
                comm.Bcast(part[begin : begin + BLOCK])
    protocol.begin(options.start_step)
    if broadcast:
        protocol.snapshots.restore_all(pointers)
        deliver(start.outputs, start.targets)
    pointers.release()
    # 5. The rest is local, but for the barrier: nobody steps before all have published.
    announcements = Announcements(window, layout)
    departures = Departures(comm.rank, hosts, announcements, window.waiter)
    interrupts = Interrupts()
    watch = Watch(announcements.reached, options.timeout, interrupts)
    window.waiter.watcher = watch
    synchronizer = Synchronizer(
        protocol, barrier, reduction, announcements, departures, pointers, watch, options.start_step
    )
    looker = Looker(window, layout, hosts, protocol.row)
    watch.described = looker.describe
    page = open_page(identity, comm.rank, comm.size, hosts[comm.rank], max(hosts) + 1)
    if page is not None:
        protocol.row.show(page, ROW_AT)
    comm.Barrier()
    protocol.row.open(own_process(), platform.node(), options.start_step, window.waiter.time())
    return Parts(
        identity=identity,
        comm=comm,
        hosts=hosts,
        options=options,
        groups=groups,
        structure=structure,
        containers=containers,
        layout=layout,
        window=window,
        protocol=protocol,
        announcements=announcements,
        departures=departures,
        pointers=pointers,
        buffers=buffers,
        memory=memory,
        accelerators=accelerators,
        interrupts=interrupts,
        worker=worker,
        watch=watch,
        synchronizer=synchronizer,
        looker=looker,
        tracer=trace and _tracer(comm, trace, hosts, options, layout, groups, protocol, window),
    )


def _tracer(
    comm: MPI.Intracomm,
    path: Path,
    hosts: tuple[int, ...],
    options: Options,
    layout: Layout,
    groups: list[tuple[int, ...]],
    protocol: Protocol,
    window: SharedWindow | RemoteWindow,
) -> Tracer:
    """Return what writes the steps that a protocol records. Collective."""
    names = dict(zip(hosts, comm.allgather(platform.node()), strict=True))
    assert protocol.events is not None
    chosen = {
        "group_size": options.grouping.size,
        "sync_period": options.sync_period,
        "group_period": options.group_period,
        "quorum": options.quorum,
        "sync_quorum": options.sync_quorum,
        "patience": None if options.patience < 0 else options.patience,
        "overlap": options.overlap,
        "model_bytes": layout.model_bytes,
    }
    about = About(comm.size, hosts, tuple(names[host] for host in sorted(names)), chosen)

    def group(step: int) -> tuple[int, ...]:
        return groups[(step // options.group_period - 1) % len(groups)]

    # Where MPI moves data in its calls alone, a poll is a part of the work.
    wait = partial(window.waiter.wait_for, longest=POLL_EVERY)
    return Tracer(comm, path, about, protocol.events, group, wait)


def _agreed(
    operation: str,
    comm: MPI.Intracomm,
    hosts: tuple[int, ...],
    model: Any,
    broadcast: bool,
    chosen: dict[str, Any],
) -> tuple[Options, Structure]:
    """Check the arguments here, and that all ranks agree on them. Collective."""
    found: Facts | Exception
    several = max(hosts) > 0
    try:
        select = chosen.pop("select_synchronized")
        trace = chosen.pop("trace")
        options = Options(operation, comm.size, hosts=hosts if several else None, **chosen)
        options.trace = chosen_path(operation, trace) if comm.rank == 0 else None
        structure = Structure(operation, model)
        leaves = structure.leaves(operation, model)
        structure.synchronized = selected(operation, select, structure, leaves)
        if checked_bool(operation, "broadcast", broadcast):
            cure = ", and broadcast=True writes rank 0's values into it; pass a copy, or broadcast=False"
            structure.check_writable(operation, model, leaves, "model", cure)
        found = {
            **options.facts(comm.size),
            "broadcast": broadcast,
            "trace": None if trace is None else str(trace),
            "select_synchronized": [
                path for path, alone in zip(structure.paths, structure.synchronized, strict=True) if alone
            ],
            "leaves": structure.facts(),
        }
        if options.window == "shared" and several:
            raise ValueError(
                f"{operation}: window='shared', but the {comm.size} ranks of comm are on "
                f"{max(hosts) + 1} hosts; pass 'auto' or 'remote', or a communicator within "
                "one host, such as comm.Split_type(MPI.COMM_TYPE_SHARED)"
            )
    except Exception as error:
        found = error
    agree(comm, operation, found)
    return options, structure
