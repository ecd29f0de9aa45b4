"""Runs the protocol in one process, under a schedule that the test chooses."""

import dataclasses
import traceback
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from tests.support import models
from tests.support.changes import changed
from wagma_rma import report as reports
from wagma_rma.buffers import Buffers
from wagma_rma.model.leaf_pointers import LeafPointers
from wagma_rma.model.structure import Structure
from wagma_rma.options import Options
from wagma_rma.protocol import layout as layouts
from wagma_rma.protocol import reduction as reductions
from wagma_rma.protocol import words
from wagma_rma.protocol.announcements import Announcements
from wagma_rma.protocol.barrier import Barrier
from wagma_rma.protocol.calls import Calls
from wagma_rma.protocol.departures import Departures, RankLeft
from wagma_rma.protocol.layout import Layout
from wagma_rma.protocol.protocol import Protocol, nothing
from wagma_rma.protocol.reduction import Reduction
from wagma_rma.protocol.synchronization import StepMismatch, Synchronizer
from wagma_rma.report import Report
from wagma_rma.testing import Interruption, Schedule, Scheduler, SimulatedMemory, SimulatedWindow, Verbs
from wagma_rma.waiting.interrupts import Interrupts
from wagma_rma.waiting.watch import Expectation, Watch

DTYPES = (np.float64, np.float32, np.float16, models.DTYPES[3])  # as wagma_rma.kernels.dtypes

CAUSES = ("Interruption(", "Silence(")  # what the exceptions say that a schedule raises


@dataclass(frozen=True)
class World:
    """What runs: as GroupAverager's arguments, and how it is simulated."""

    ranks: int = 2
    group_size: int = 2
    sync_period: int = 3
    group_period: int = 1
    quorum: int = 1
    sync_quorum: int | None = None
    patience: float = 0.0
    steps: int = 3
    leaves: tuple[tuple[int, int], ...] = ((1, 64),)  # (dtype number, elements)
    synchronized: int = 0  # so many leaves, the last ones, are averaged at synchronisations only
    chunks: int = 1  # of the largest section, about
    lanes: int = 1
    hosts: int = 1  # ranks are on them in blocks; they say where sums are made
    columns: bool = True  # at a synchronisation, also where each rank could sum the whole model
    direct: bool = True  # between three hosts sums are exchanged in one round; else in two
    chained: bool = (
        False  # a rank comes with what the step before gave, not with a model of its own for each step
    )
    lent: bool = False  # models and results lie in the window, but for every third model
    computes: tuple[float, ...] = (0.0,)  # seconds before each step, in turn
    pins_before: int = (
        0  # pins that were taken on each rank's first snapshot, and given back, before it began
    )
    overlap: bool = False  # what a group step brings is added at the next one
    joins: tuple[int, ...] = ()  # by rank: the step after which it joins; or nobody joins


@dataclass(frozen=True)
class Step(Report):
    """One step of one rank, as it was reported, and what it gave."""

    came: int  # the step whose model the rank came with; if it has skipped steps, before the one that it did
    interrupted: bool
    joined: bool
    ended: int  # turn of the simulation
    result: tuple[np.ndarray, ...]


@dataclass
class History:
    """All that a simulation did."""

    world: World
    schedule: Schedule
    layout: Layout
    groups: list[list[tuple[int, ...]]]  # by rank, then step
    steps: list[list[Step]]  # by rank; fewer than the world's where a rank was stopped for good
    through: list[bool]  # by rank
    events: list[tuple]
    choices: bytes
    departed: list[str]  # by rank: why it can't go on, or ""


class Departs(Exception):
    """A rank can't go on: why."""


@lru_cache(maxsize=4096)
def model(world_leaves, rank, step):
    """Return the leaves that a rank comes with to a step."""
    rng = np.random.default_rng([rank, step])
    return tuple(rng.standard_normal(count).astype(DTYPES[dtype]) for dtype, count in world_leaves)


def hosts(world):
    """Return the host of each rank."""
    return [rank * world.hosts // world.ranks for rank in range(world.ranks)]


def leader(world, rank):
    """Return the rank in whose window the words of a rank's host lie."""
    return hosts(world).index(hosts(world)[rank])


@dataclass
class _Rank:
    """What one rank has."""

    world: World
    protocol: Protocol
    pointers: LeafPointers
    buffers: Buffers
    synchronizer: Synchronizer
    departures: Departures
    watch: Watch
    groups: list[tuple[int, ...]]
    scheduler: Scheduler
    steps: list[Step] = field(default_factory=list)
    departed: str = ""

    def run(self, rank):
        """Perform all steps, unless this rank has to depart; return whether it did all."""
        try:
            self._run(rank)
        except Departs as departs:
            [error] = departs.args
            self.departed = repr(error)
            self._again(self.departures.leave, words.BROKEN, self.protocol.last_step, error)
        if self.scheduler.silences:
            try:
                self._again(self.synchronizer.close, False)
            except RankLeft:
                assert not self.departed
        return not self.departed

    def _again(self, call, *arguments):
        """Make a call, once more after each exception that a round trip may end with."""
        while True:
            try:
                return call(*arguments)
            except Interruption.KINDS as error:
                assert str(error).startswith(CAUSES), error

    def _run(self, rank):
        own = self.world.joins[rank] if self.world.joins else self.world.steps
        while True:
            joined = self.protocol.last_step >= own
            if joined and (not self.world.joins or self.synchronizer.all_joined):
                return
            came = step = self.protocol.last_step + 1
            mine = model(self.world.leaves, rank, step)
            if self.world.chained and step > 1:
                mine = self.steps[-1].result
            synchronizes = joined or step % self.world.sync_period == 0
            self.scheduler.compute(rank, self.world.computes[(step - 1) % len(self.world.computes)])
            sources, targets = self._again(self._memory, step, mine, synchronizes)
            self.pointers.hold(sources, targets)
            try:
                performed = interrupted = False
                if not synchronizes:
                    performed, interrupted = self._average(step)
                if not performed:
                    skipped = 0
                    if not synchronizes:
                        # Called: nothing has been done; the rank comes with the same model to the multiple.
                        step = -(-came // self.world.sync_period) * self.world.sync_period
                        skipped, synchronizes = step - came, True
                        self._again(self.buffers.settle)
                        sources, targets = self._again(self._memory, came, mine, True)
                        self.pointers.hold(sources, targets)
                    interrupted = self._synchronize(step, joined) or interrupted
                    if joined:
                        step = self.synchronizer.step
                        skipped = step - came
            except Departs:
                untouched = [np.full_like(leaf, 77) for leaf in mine]
                if not (self.world.lent or self.world.overlap or synchronizes):
                    assert models.same_bits(targets, mine) or models.same_bits(targets, untouched)
                raise
            if synchronizes:
                last = reports.Synchronization(skipped=skipped)
                report = reports.of_synchronization(step, self.world.ranks, last)
            else:
                report = reports.of_group_step(self.protocol.report())
            self._again(self.buffers.settle)
            result = tuple(leaf.copy() for leaf in targets)
            fields = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
            self.steps.append(
                Step(
                    **fields,
                    came=came,
                    interrupted=interrupted,
                    joined=joined,
                    ended=self.scheduler.turns,
                    result=result,
                )
            )

    def _memory(self, step, mine, synchronizes):
        """Return where the model lies, and where the result goes."""
        sources = targets = None
        if self.world.lent and step % 3:
            sources = self.buffers.lent()
            if sources is None:
                sources = self.buffers.besides([])
        if sources is None:
            sources = list(mine)
        else:
            for lent, leaf in zip(sources, mine, strict=True):
                lent[...] = leaf
        if self.world.lent:
            targets = self.buffers.lent() if synchronizes else None
            if targets is None:
                targets = self.buffers.besides(sources)
        if targets is None:
            targets = [np.full_like(leaf, 77) for leaf in mine]
        return sources, targets

    def _average(self, step):
        number = step // self.world.group_period
        group = self.groups[(number - 1) % len(self.groups)]
        self.watch.expect(Expectation(str, list, lambda: self._check_group(step, group), ""))
        try:
            performed = self.protocol.step(step, self.pointers)
            # No worker has performed it, so it is over. Others see no difference: see PROTOCOL.md, "Overlap".
            self.protocol.await_rest(nothing, nothing)
            return performed, False
        except Interruption.KINDS as error:
            assert str(error).startswith(CAUSES), error
            if self.protocol.last_step != step:
                raise Departs(error) from error
            return True, True
        except (RankLeft, StepMismatch) as error:
            raise Departs(error) from error

    def _check_group(self, step, group):
        self.synchronizer.check_group("average", step, group, self.protocol.waits_for_record())
        self.protocol.expect_fewer(self.synchronizer.count_joined(group))

    def _synchronize(self, step, joined):
        """Synchronise a step; or, if this rank has joined, whatever step the others synchronise."""
        interrupted = False
        while True:
            try:
                if joined:
                    self.synchronizer.synchronize(
                        "join", self.protocol.last_step, None, joined=True, calls=True
                    )
                else:
                    self.synchronizer.synchronize("average", step, None, calls=True)
                break
            except Interruption.KINDS as error:
                assert str(error).startswith(CAUSES), error
                interrupted = True
                if not self.synchronizer.cut_short:
                    calls = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
                    lost = self.synchronizer._barrier.lost
                    assert lost or "_look" not in calls, "a look that is ended can be repeated"
                    raise Departs(error) from error
            except (RankLeft, StepMismatch) as error:
                raise Departs(error) from error
            except RuntimeError as error:
                # In a generator Python puts this in the place of what ends generators.
                assert isinstance(error.__cause__, StopIteration)
                raise Departs(error.__cause__) from error
        self.protocol.synchronized(self.synchronizer.step)
        return interrupted


def run(world, schedule, most_turns=100_000):
    """Run a world under a schedule and return its history.

    Raises:
        NoEnd: it took too many turns.
        BaseException: what a rank raised.
    """
    options = Options(
        "simulation",
        world.ranks,
        world.group_size,
        world.sync_period,
        world.quorum,
        "auto" if world.patience < 0 else world.patience,
        None,
        0,
        None,
        sync_quorum=world.sync_quorum,
        group_period=world.group_period,
    )
    groups = [options.groups(rank) for rank in range(world.ranks)]
    start = list(model(world.leaves, 0, 0))
    largest = max([8, *(leaf.nbytes for leaf in start)])
    sizes = {"CHUNK_BYTES": -(-largest // world.chunks), "LEAST_CHUNK_BYTES": 1 << 40, "NETWORK_FACTOR": 1}
    with changed(layouts, **sizes):
        structure = Structure("simulation", start)
        in_groups = len(start) - world.synchronized
        structure.synchronized = [i >= in_groups for i in range(len(start))]
        layout = options.layout(structure, world.hosts > 1, world.hosts)
    scheduler = Scheduler(world.ranks, schedule, most_turns)
    memory = SimulatedMemory(scheduler, layout.nbytes, layout.words_bytes)
    ranks = []
    for rank in range(world.ranks):
        window = SimulatedWindow(memory, rank, world.lanes)
        if world.pins_before:
            # Each in one addition; begin() settles them.
            verbs = Verbs(window)
            verbs.fetch_add(rank, layout.published, world.pins_before << words.PINS_SHIFT)
            verbs.fetch_add(rank, layout.retired, -world.pins_before % (1 << 64))
        barrier = Barrier(window, layout, hosts(world), options.sync_quorum, options.sync_period)
        calling = barrier.leader if barrier.elastic else -1
        calls = Calls(window, layout, calling, world.sync_period, world.group_period)
        how = options.quorum, options.patience, options.group_period, calls, world.overlap
        protocol = Protocol(window, layout, groups[rank], *how)
        pointers = LeafPointers(layout.order)
        pointers.hold(start, [leaf.copy() for leaf in start])
        protocol.prepare(pointers)
        protocol.begin(0)
        announcements = Announcements(window, layout)
        departures = Departures(rank, [0] * world.ranks, announcements, window.waiter)
        watch = Watch(announcements.published, None, Interrupts())
        spared = {
            "SPARED_WAIT": -(1 << 40) if world.columns else 1 << 40,
            "SPARED_ROUND": 1 << 40 if world.direct else -(1 << 40),
        }
        with changed(reductions, **spared):
            reduction = Reduction(window, layout, protocol.snapshots, hosts(world))
        if scheduler.silences or world.joins:
            window.waiter.watcher = watch
        synchronizer = Synchronizer(
            protocol, barrier, reduction, announcements, departures, pointers, watch, 0
        )
        buffers = Buffers(protocol.snapshots, layout, structure)
        ranks.append(
            _Rank(
                world,
                protocol,
                pointers,
                buffers,
                synchronizer,
                departures,
                watch,
                groups[rank],
                scheduler,
            )
        )
    through = scheduler.run(lambda rank: ranks[rank].run(rank))
    return History(
        world,
        schedule,
        layout,
        groups,
        [rank.steps for rank in ranks],
        [bool(done) for done in through],
        memory.events(),
        scheduler.choices,
        [rank.departed for rank in ranks],
    )
