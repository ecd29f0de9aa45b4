"""WAGMA-SGD in virtual time, by the rules of PROTOCOL.md: records, arrivals, patience, ages, calls.

Left out: interruptions, departures, buffers. Operations on words take no time of their own but what `Costs`
counts, so no two ranks meet in the middle of an operation.
"""

from collections.abc import Callable

from wagma_rma.groups.choice import choose
from wagma_rma.options import quorum_of_all
from wagma_rma.planning.world import Model, World

Continuation = Callable[[int], None]

# As wagma_rma/protocol/protocol.pyx has them.
LEAST_PATIENCE, EXCHANGES, SHARE, CALL_SHARE, SHARE_BEHIND = 100e-6, 2, 0.1, 0.5, 0.75
RESULTS = 3  # slots of sums of a rank
SNAPSHOTS = 3  # slots of models, or one more than the groupings in a turn


class Snapshot:
    """A model that a rank has published, and how many open records have pinned it."""

    __slots__ = "model", "pins", "step"

    def __init__(self, step: int, model: Model) -> None:
        self.step, self.model, self.pins = step, model, 0


class Record:
    """One group's average at one step."""

    __slots__ = (
        "arrived",
        "finished",
        "group",
        "late",
        "mean",
        "opened",
        "owners",
        "snapshots",
        "step",
        "until",
    )

    def __init__(self, step: int, group: tuple[int, ...]) -> None:
        self.step, self.group = step, group
        self.arrived: list[int] = []
        self.until = float("inf")  # the first end of a member's patience
        self.owners: list[int] = []  # members that have begun to write sums
        self.snapshots: list[Snapshot] = []
        self.mean: Model = None
        self.opened = self.finished = False
        self.late: list[int] = []


class Rank:
    """The state of one rank."""

    __slots__ = (
        "awaits", "behind", "call", "came", "latest", "own", "pending", "pinned", "published", "snapshot",
        "step", "tags", "times", "token",
    )  # fmt: skip

    def __init__(self, model: Model) -> None:
        self.step = self.call = 0  # steps of the averager; calls, by which step times go
        self.snapshot = Snapshot(0, model)
        self.pinned = 0  # older snapshots that are pinned
        self.published = True  # whether the model of this step is
        self.latest: Record | None = None  # the newest record that has used an older model of this rank
        self.tags = [0] * RESULTS  # the steps whose sums lie in its slots
        self.times: list[float] = []  # the last three between steps
        self.token: object = None  # what the rank waits for: an event for another token is void
        self.came = 0.0
        # With overlap: whether an exchange goes on behind the rank's back, and the rank waits for its end;
        # the model that it has published for it; and what is to be added to the next one.
        self.behind = self.awaits = False
        self.own: Model = None
        self.pending: tuple[Model, Model] | None = None


def wagma(
    world: World,
    group_size: int | None = None,
    sync_period: int = 10,
    quorum: int = 1,
    majority: bool = False,
    sync_quorum: float | None = None,
    patience: float | None = None,
    group_period: int = 1,
    moments: bool = False,
    overlap: bool = False,
) -> None:
    """WAGMA-SGD; the options are GroupAverager's.

    Args:
        majority: a quorum of more than half of a group.
        patience: seconds; None stands for "auto".
        moments: synchronisations average the optimizers' states too.
    """
    options = group_size, sync_period, quorum, majority, sync_quorum, patience, group_period, moments, overlap
    _Run(world, *options).run()


class _Run:
    def __init__(
        self,
        world: World,
        group_size: int | None,
        sync_period: int,
        quorum: int,
        majority: bool,
        sync_quorum: float | None,
        patience: float | None,
        group_period: int,
        moments: bool,
        overlap: bool,
    ) -> None:
        if world.steps % sync_period:
            raise ValueError(f"steps={world.steps} is no multiple of sync_period={sync_period}")
        self.world, self.fleet, self.costs, self.overlap = world, world.fleet, world.costs, overlap
        grouping = choose(world.ranks, group_size)
        self.size, self.turn = grouping.size, grouping.period
        # The groups of a rank at each step of a turn; all members have the same tuple.
        self.groups: list[list[tuple[int, ...]]] = []
        for step in range(1, self.turn + 1):
            of_rank: dict[int, tuple[int, ...]] = {}
            for rank in range(world.ranks):
                if rank not in of_rank:
                    group = tuple(grouping.members(rank, step))
                    of_rank.update(dict.fromkeys(group, group))
            self.groups.append([of_rank[rank] for rank in range(world.ranks)])
        self.slots = max(SNAPSHOTS, self.turn + 1)
        self.period, self.group_period, self.patience, self.moments = (
            sync_period,
            group_period,
            patience,
            moments,
        )
        self.quorum = self.size // 2 + 1 if majority else quorum
        callers = quorum_of_all("wagma", sync_quorum, world.ranks)
        self.sync_quorum = None if callers == world.ranks else callers  # where all call, nobody is called
        self.ranks = [Rank(model) for model in self.fleet.models]
        self.records: dict[tuple[int, int], Record] = {}
        self.target = sync_period  # the step of the next synchronisation
        self.called = False
        self.here: list[int] = []
        self.first = 0  # who is there, and how many of them have done all steps
        self.gathering: dict[Record, None] = {}  # records that are not open: an ordered set
        self.waiting: dict[
            int, Continuation | None
        ] = {}  # ranks that wait for a slot or a call: rank -> what to do next
        self.ages: dict[int, int] = {}
        self.counts = dict.fromkeys(("fresh", "late", "missed", "skipped", "synchronisations"), 0)

    def run(self) -> None:
        for rank in range(self.world.ranks):
            self.begin(rank)
        self.world.run()
        groups = self.counts["fresh"] + self.counts["late"] + self.counts["missed"]
        used = sum(self.ages.values())
        self.world.counts = self.counts | {
            "late share": self.counts["late"] / max(1, groups),
            "mean age": sum(age * n for age, n in self.ages.items()) / max(1, used),
        }

    # Between two steps.

    def begin(self, rank: int) -> None:
        """Begin to compute."""
        state = self.ranks[rank]
        seconds = self.world.seconds(rank, state.call)
        state.call += 1
        state.times = [*state.times[-2:], seconds]
        self.fleet.begin(rank)
        self.world.at(self.world.now + seconds, self.come, rank)

    def usual(self, state: Rank) -> float:
        """Return what a rank usually computes: the median of three times, of fewer the shortest."""
        return sorted(state.times)[1] if len(state.times) == 3 else min(state.times)

    def come(self, rank: int) -> None:
        """Call average(): a synchronisation, a local step, or a group step."""
        state = self.ranks[rank]
        self.fleet.update(rank, self.world.factor(state.step))
        self.world.gradients += 1
        state.came = self.world.now
        step = state.step + 1
        if state.behind and (step == self.target or self.called or step % self.group_period == 0):
            state.awaits = True
        else:
            self.call(rank)

    def call(self, rank: int) -> None:
        """Do what a call of average() does once no exchange of the rank is under way."""
        state = self.ranks[rank]
        step = state.step + 1
        if step == self.target or self.called:
            self.synchronise(rank)
        elif step % self.group_period or self.size == 1:
            self.counts["fresh"] += self.size == 1
            self.go_on(rank, self.fleet.models[rank])
        elif state.pinned >= self.slots - 1:
            # All other slots are pinned: wait for one.
            self.wait(rank, self.now_patience(state), self.meet, self.publish_not)
        else:
            self.meet(rank)

    def now_patience(self, state: Rank) -> float:
        if self.patience is not None:
            return self.patience
        exchange = self.costs.exchange(self.size, self.size)
        return max(LEAST_PATIENCE, SHARE * self.usual(state), EXCHANGES * exchange)

    def group_patience(self, state: Rank) -> float:
        """Return how long a rank waits for its group."""
        if self.patience is not None or not self.overlap:
            return self.now_patience(state)
        exchange = self.costs.exchange(self.size, self.size)
        usual = self.usual(state)
        return max(LEAST_PATIENCE, SHARE * usual, exchange, SHARE_BEHIND * usual - exchange)

    def add_pending(self, rank: int) -> None:
        """Add to a rank's model what its last group step has brought."""
        state = self.ranks[rank]
        if state.pending is not None:
            average, before = state.pending
            self.fleet.models[rank] = self.fleet.moved(self.fleet.models[rank], average, before)
            state.pending = None

    def wait(self, rank: int, seconds: float, then: Continuation | None, otherwise: Continuation) -> None:
        """Wait for what `then` continues with; after so many seconds continue with `otherwise`."""
        state = self.ranks[rank]
        state.token = token = object()
        self.waiting[rank] = then
        self.world.at(self.world.now + seconds, self.give_up, rank, token, otherwise)

    def give_up(self, rank: int, token: object, otherwise: Continuation) -> None:
        if self.ranks[rank].token is token:
            self.stop_waiting(rank)
            otherwise(rank)

    def stop_waiting(self, rank: int) -> None:
        self.ranks[rank].token = None
        del self.waiting[rank]

    # A group step.

    def meet(self, rank: int) -> None:
        """Publish, unless a call is due: then wait for it."""
        state = self.ranks[rank]
        last = (self.target - 1) // self.group_period * self.group_period
        if self.sync_quorum is not None and state.latest and state.latest.step >= last >= state.step + 1:
            patience = self.patience
            if patience is None:
                patience = max(self.now_patience(state), CALL_SHARE * self.usual(state))
            self.wait(rank, patience, None, self.publish)
        else:
            self.publish(rank)

    def publish(self, rank: int) -> None:
        state = self.ranks[rank]
        self.add_pending(rank)
        state.pinned += state.snapshot.pins > 0
        state.snapshot = Snapshot(state.step + 1, self.fleet.models[rank])
        state.published = True
        self.arrive(rank)

    def publish_not(self, rank: int) -> None:
        self.add_pending(rank)
        self.ranks[rank].published = False
        self.arrive(rank)

    def arrive(self, rank: int) -> None:
        """Arrive at the record of the step, or find it open."""
        state, world = self.ranks[rank], self.world
        step = state.step + 1
        group = self.groups[(step // self.group_period - 1) % self.turn][rank]
        record = self.records.get((step, group[0]))
        if record is None:
            record = self.records[step, group[0]] = Record(step, group)
            self.gathering[record] = None
        state.own, until = self.fleet.models[rank], world.now + self.group_patience(state)
        if self.overlap:
            state.behind = True
            self.go_on(rank, state.own)
        if record.opened:
            self.come_late(rank, record)
            return
        record.arrived.append(rank)
        record.until = min(record.until, until)
        if len(record.arrived) == len(group) or (
            len(record.arrived) >= self.quorum and record.until <= world.now
        ):
            self.open(record)
        elif record.until == until:
            world.at(until, self.end_patience, record)

    def end_patience(self, record: Record) -> None:
        if not record.opened and len(record.arrived) >= self.quorum:
            self.open(record)

    def open(self, record: Record) -> None:
        """Fix what each member contributes, and begin the exchange."""
        now = self.world.now
        record.opened = True
        del self.gathering[record]
        record.snapshots = [self.ranks[member].snapshot for member in record.group]
        for snapshot in record.snapshots:
            snapshot.pins += 1
            age = record.step - snapshot.step
            self.ages[age] = self.ages.get(age, 0) + 1
        for member in record.arrived:
            self.share(member, record)
            self.world.waited += 0 if self.overlap else now - self.ranks[member].came
        record.owners = list(record.arrived)
        cost = self.costs.exchange(len(record.group), len(record.arrived))
        self.world.at(now + cost, self.finish, record)

    def share(self, rank: int, record: Record) -> None:
        """Begin to write sums of the step."""
        self.ranks[rank].tags[record.step // self.group_period % RESULTS] = record.step

    def finish(self, record: Record) -> None:
        """End the exchange: give the pins back, and let members go on."""
        record.finished = True
        record.mean = self.fleet.average([snapshot.model for snapshot in record.snapshots])
        for member, snapshot in zip(record.group, record.snapshots, strict=True):
            self.unpin(member, snapshot)
            if snapshot.step < record.step:
                state = self.ranks[member]
                if state.latest is None or state.latest.step < record.step:
                    state.latest = record
        record.snapshots = []
        for member in record.arrived:
            if self.ranks[member].published:
                self.counts["fresh"] += 1
                self.leave(member, record.mean)
            else:
                self.leave_late(member, record)
        for member in record.late:
            self.world.at(self.world.now + self.costs.collect(), self.leave_late, member, record)

    def unpin(self, rank: int, snapshot: Snapshot) -> None:
        state = self.ranks[rank]
        snapshot.pins -= 1
        if snapshot.pins == 0 and snapshot is not state.snapshot:
            state.pinned -= 1
            if self.waiting.get(rank) == self.meet:
                self.stop_waiting(rank)
                self.meet(rank)

    def come_late(self, rank: int, record: Record) -> None:
        """Take part in an open record; of a finished one, or of a later one, collect the sums."""
        state = self.ranks[rank]
        if not record.finished:
            self.share(rank, record)
            record.owners.append(rank)
            record.late.append(rank)
            return
        if state.latest and state.latest.step > record.step:
            record = state.latest
        self.world.at(self.world.now + self.costs.collect(), self.leave_late, rank, record)

    def leave_late(self, rank: int, record: Record) -> None:
        """End a step as LATE, or as MISSED if sums have been overwritten meanwhile."""
        slot, own = record.step // self.group_period % RESULTS, self.ranks[rank].own
        if any(self.ranks[owner].tags[slot] != record.step for owner in record.owners):
            self.counts["missed"] += 1
            self.leave(rank, None if self.overlap else own)
        else:
            self.counts["late"] += 1
            self.leave(rank, self.fleet.mixed(record.mean, len(record.group), own))

    def leave(self, rank: int, model: Model) -> None:
        """End a step; with overlap one that has gone on behind the rank's back (None: it brings nothing)."""
        state = self.ranks[rank]
        if not state.behind:
            self.go_on(rank, model)
            return
        state.behind = False
        state.pending = None if model is None else (model, state.own)
        if state.awaits:
            state.awaits = False
            self.world.waited += self.world.now - state.came
            self.call(rank)

    def go_on(self, rank: int, model: Model) -> None:
        """Return from a call with a model, and compute."""
        self.ranks[rank].step += 1
        self.fleet.models[rank] = model
        self.begin(rank)

    # A synchronisation.

    def synchronise(self, rank: int) -> None:
        """Come to the synchronisation, and call the others if that completes the quorum."""
        state = self.ranks[rank]
        self.add_pending(rank)
        jumps = state.step + 1 < self.target
        self.here.append(rank)
        self.first += not jumps
        self.counts["skipped"] += self.target - state.step - 1
        if self.sync_quorum is not None and self.first >= self.sync_quorum and not self.called:
            self.called = True
            # Ranks that wait for others go on without them, and those that have not begun a step come at
            # once.
            for record in list(self.gathering):
                self.open(record)
            for other in list(self.waiting):
                self.stop_waiting(other)
                self.synchronise(other)
        if len(self.here) == self.world.ranks:
            self.world.waited += sum(self.world.now - self.ranks[rank].came for rank in self.here)
            self.here = []
            self.world.at(self.world.now + self.costs.synchronise(self.world.ranks), self.end_synchronisation)

    def end_synchronisation(self) -> None:
        mean = self.fleet.mean()
        self.fleet.models = [mean] * self.world.ranks
        if self.moments:
            self.fleet.average_states()
        self.counts["synchronisations"] += 1
        step, self.target = self.target, self.target + self.period
        self.called, self.first = False, 0
        self.records.clear()
        for state in self.ranks:
            state.step, state.latest, state.pinned = step, None, 0
            state.snapshot = Snapshot(step, mean)
        self.world.reached(step)
        if step >= self.world.steps:
            self.world.end()
            return
        for rank in range(self.world.ranks):
            self.begin(rank)
