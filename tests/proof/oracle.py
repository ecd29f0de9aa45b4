"""Holds the history of a simulation to the invariants of the protocol.

It reads the words of the log for itself, and computes every average with numpy from what the records say was
contributed. `violations(history)` gives sentences by the name of the invariant that they break.
"""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from tests.proof import simulation
from tests.support import models
from wagma_rma.report import Outcome

LINE = 64
RESULTS = 3
GATHERING, ACTIVATING, OPEN = 1, 2, 3
CLAIMED, DONE = 1, 2
WORD = (1 << 64) - 1
# The oracle's own reading of the words, apart from the code's: the first bit of each field, and its width.
PINS, PUBLISHED_STEP, PUBLISHED_SLOT = (44, 20), (8, 36), (0, 8)
RECORD_STEP, PHASE, ARRIVALS = (28, 36), (26, 2), (0, 26)  # of a state; RECORD_STEP of all words of a record
AGE, SLOT = (8, 20), (0, 8)  # of a contribution
MARK, OWNER = (26, 2), (0, 26)  # of a chunk
BARRIER = (28, 36)  # of `gathered`, and of `counted`
STEPS, COUNT = (2, 26), (0, 28)  # of `gathered`; of `counted`
NODE_BARRIER, PLACES = (39, 25), (22, 17)  # of `node`
ARITY = 16


def field_of(word, place):
    """Return a field of a word."""
    first, width = place
    return word >> first & (1 << width) - 1


@dataclass
class Record:
    """What has become of one group at one step."""

    step: int
    group: tuple[int, ...]
    phase: int = GATHERING
    opened: int = 0
    contributions: dict[int, tuple[int, int]] = field(default_factory=dict)  # member: (step, slot)
    marks: dict[int, int] = field(default_factory=dict)  # chunk: mark
    owners: dict[int, int] = field(default_factory=dict)  # chunk: member that made its sums
    finished: int = 0

    def done(self, chunks):
        return sum(mark == DONE for mark in self.marks.values()) == chunks


class Replay:
    """The log of a history, played word by word."""

    def __init__(self, history):
        self.history, self.world, self.layout = history, history.world, history.layout
        self.wrong = defaultdict(list)
        layout = self.layout
        self.tags_at = 8
        self.retired_at = self.tags_at + 8 * RESULTS
        self.latest_at = -(-(self.retired_at + 8 * layout.slots) // LINE) * LINE
        self.reached_at = self.latest_at + 3 * LINE
        self.gathered_at = self.reached_at + LINE
        self.called_at = self.gathered_at + 16
        self.node_at = self.reached_at + 32
        self.counted_at = self.gathered_at + LINE
        self.heard_at = (
            self.counted_at - (-8 * layout.places // LINE) * LINE
        )  # what it stands for is in the sums
        self.records_at = self.heard_at - (-8 * layout.peers // LINE) * LINE
        self.record_bytes = LINE - (-(8 + 8 * layout.group_size + 8 * layout.chunks) // LINE) * LINE
        self.snapshots_at = layout.words_bytes
        self.results_at = self.snapshots_at + layout.slots * layout.snapshot_bytes
        self.region_at = self.results_at + RESULTS * layout.result_bytes
        self.ended = [[step.ended for step in steps] for steps in history.steps]
        self.synchronized = {
            step.step for steps in history.steps for step in steps if step.outcome is Outcome.SYNCHRONIZED
        }
        self.ends = defaultdict(list)  # step that is synchronised: when each rank had completed it
        for steps in history.steps:
            for step in steps:
                if step.outcome is Outcome.SYNCHRONIZED:
                    self.ends[step.step].append(step.ended)
        # Where the replay is.
        self.turn = 0
        self.newest = dict.fromkeys(range(self.world.ranks), (0, 0))  # rank: (step, slot)
        self.content = dict.fromkeys(((rank, 0) for rank in range(self.world.ranks)), 0)  # (rank, slot): step
        self.pins = defaultdict(int)  # (rank, slot)
        self.taken = defaultdict(int)  # rank: pins on its newest snapshot
        self.unsettled = defaultdict(int)  # (rank, slot): pins that its owner has yet to add to `retired`
        self.records = {}  # (home, step)
        self.tags = defaultdict(list)  # (rank, result slot): [(turn, step)]
        self.called = 0  # the last step to which a quorum has called
        self.calls = set()  # all of these steps
        self.arrivals = dict.fromkeys(range(self.world.ranks), 0)  # rank: at barriers
        for self.turn, *event in history.events:
            if self.turn > 0:  # before that the world is set up
                self.play(*event)
        if all(history.through):
            self.check_settled("the end")

    def say(self, invariant, sentence):
        self.wrong[invariant].append(f"turn {self.turn}: {sentence}")

    def group(self, rank, step):
        groups = self.history.groups[rank]
        return groups[(self.number(step) - 1) % len(groups)]

    def number(self, step):
        """Return which of the group steps a step is."""
        return step // self.world.group_period

    def is_local(self, step):
        """Say whether a rank exchanges nothing at a step."""
        return not self.is_synchronized(step) and step % self.world.group_period != 0

    def is_synchronized(self, step):
        """Say whether a step is a synchronisation; the last of ranks that have joined is no multiple."""
        return step % self.world.sync_period == 0 or step in self.synchronized

    def in_join(self, rank):
        """Say whether a rank has done its last step of its own."""
        if not self.world.joins:
            return False
        done = bisect_left(self.ended[rank], self.turn)
        last = self.history.steps[rank][done - 1].step if done else 0
        return last >= self.world.joins[rank]

    def ends_waits(self, group, step):
        """Say whether an exception may have ended a member's wait for the quorum at a step."""
        if self.history.schedule.interruptions:
            return True
        if self.called >= step:
            return True
        gone = [rank for rank in group if self.history.departed[rank] and self.last_step(rank) < step]
        done = [s for rank in group for s in self.history.steps[rank] if s.step == step]
        return bool(gone) or any(s.interrupted for s in done)

    def last_step(self, rank):
        """Return the last step that a rank has completed."""
        steps = self.history.steps[rank]
        return steps[-1].step if steps else 0

    def record_of(self, rank, step):
        """Return the record of a rank's group at a step."""
        group = self.group(rank, step)
        return self.records.get((group[self.number(step) % len(group)], step))

    def under_way(self, rank):
        """Return the step that a rank is in."""
        done = bisect_left(self.ended[rank], self.turn)
        steps = self.history.steps[rank]
        return steps[done].step if done < len(steps) else self.last_step(rank) + 1

    def play(self, rank, kind, target, offset, before, after):
        announces = self.latest_at < offset < self.records_at  # that it closes, or has departed
        step = self.under_way(rank)
        # A rank that has departed at a synchronisation may have jumped there, or joined.
        jumps = step > self.last_step(rank) and (self.called >= step or self.in_join(rank))
        if kind != "shown" and not announces and self.is_local(step) and not jumps:
            self.say("local", f"rank {rank} changes {target, offset} at step {step}")
        if kind != "changed":
            if after and offset >= self.region_at:
                if kind == "wrote" and offset == self.region_at and self.arrivals[rank] % 2:
                    self.say("slot", f"rank {rank} writes a model that others may still sum")
            elif after and offset >= self.results_at:
                self.play_result(rank, kind, offset)
            elif after and kind == "wrote":
                self.play_snapshot(rank, offset)
        elif offset == 0:
            self.play_published(rank, target, before, after)
        elif offset == self.latest_at:
            self.play_latest(target, after)
        elif self.retired_at <= offset < self.retired_at + 8 * self.layout.slots:
            self.play_retired(rank, target, (offset - self.retired_at) // 8, (after - before) & WORD)
        elif self.tags_at <= offset < self.retired_at:
            slot = (offset - self.tags_at) // 8
            if rank != target or after <= before or self.number(after) % RESULTS != slot:
                self.say(
                    "tag", f"rank {rank} changes result_tag {slot} of rank {target} from {before} to {after}"
                )
            self.tags[target, slot].append((self.turn, after))
        elif offset == self.reached_at:
            self.arrivals[rank] += 1
        elif offset == self.gathered_at:
            self.play_gathered(rank, field_of(after, BARRIER), field_of(after, STEPS))
        elif offset == self.node_at:
            self.play_node(rank, target, before, after)
        elif self.counted_at <= offset < self.heard_at:
            place = (offset - self.counted_at) // 8
            self.play_counted(rank, target, place, field_of(after, BARRIER), field_of(after, COUNT))
        elif offset == self.called_at:
            self.play_called(rank, before, after)
        elif offset >= self.records_at:
            word = (offset - self.records_at) % self.record_bytes // 8
            word = max(0, word - LINE // 8 + 1)  # the state has a line of its own
            self.play_record(rank, target, word, before, after)

    # Bulk memory.

    def play_result(self, rank, kind, offset):
        step = self.under_way(rank)
        if self.arrivals[rank] % 2:
            return  # the rank is between the two barriers of a synchronisation
        slot = (offset - self.results_at) // self.layout.result_bytes
        tag = self.tags[rank, slot][-1][1] if self.tags[rank, slot] else 0
        if kind == "shown" and tag != step:
            self.say("tag", f"rank {rank} shows sums of step {step} under the tag {tag}")

    def play_snapshot(self, rank, offset):
        slot = (offset - self.snapshots_at) // self.layout.snapshot_bytes
        if self.newest[rank][1] == slot and not self.in_synchronization(rank):
            self.say("slot", f"rank {rank} writes its newest snapshot")
        if self.pins[rank, slot]:
            self.say("slot", f"rank {rank} writes slot {slot}, on which {self.pins[rank, slot]} pins are")
        for record in self.records.values():
            if not record.done(self.layout.chunks):
                for member, (_, used) in record.contributions.items():
                    if (record.group[member], used) == (rank, slot):
                        self.say(
                            "slot", f"rank {rank} writes slot {slot}, which step {record.step} still sums"
                        )

    def in_synchronization(self, rank):
        """Say whether a rank is between the two barriers of a synchronisation, to which all have come."""
        return self.arrivals[rank] % 2 == 1 and min(self.arrivals.values()) >= self.arrivals[rank]

    # Words.

    def add_pins(self, rank, slot, pins):
        self.pins[rank, slot] += pins
        if self.pins[rank, slot] < 0:
            self.say("pins", f"slot {slot} of rank {rank} gets back more pins than were taken")

    def play_retired(self, rank, target, slot, added):
        if added == WORD:
            self.add_pins(target, slot, -1)
        elif rank != target or added != self.unsettled.pop((target, slot), 0):
            self.say("pins", f"rank {rank} adds {added} pins to those on slot {slot} of rank {target}")

    def play_published(self, rank, target, before, after):
        step, slot = field_of(after, PUBLISHED_STEP), field_of(after, PUBLISHED_SLOT)
        if (after - before) & WORD == 1 << PINS[0]:
            self.add_pins(target, slot, 1)
            self.taken[target] += 1
            return
        if rank != target or field_of(after, PINS) != field_of(before, PINS) or step <= self.newest[rank][0]:
            self.say("slot", f"rank {rank} changes published of rank {target} from {before:x} to {after:x}")
        if self.unsettled[target, self.newest[target][1]]:
            self.say("pins", f"rank {target} has not settled the pins on slot {self.newest[target][1]}")
        self.unsettled[target, self.newest[target][1]] = self.taken.pop(target, 0)
        self.newest[target] = step, slot
        self.content[target, slot] = step
        if self.is_synchronized(step):
            self.check_settled(f"the synchronisation at step {step}")

    def check_settled(self, when):
        """Check that no pins are out and no chunks lack, since all ranks are between two steps."""
        for (rank, slot), pins in self.pins.items():
            if pins:
                self.say("pins", f"slot {slot} of rank {rank} has {pins} pins at {when}")
        for record in self.records.values():
            if record.finished != self.layout.chunks or not record.done(self.layout.chunks):
                self.say("pins", f"{record} is not complete at {when}")

    def play_latest(self, target, step):
        record = self.record_of(target, step)
        if record is None or not record.done(self.layout.chunks):
            self.say("latest", f"rank {target} is told of step {step}, which is not complete: {record}")
        elif record.contributions[record.group.index(target)][0] == step:
            self.say("latest", f"rank {target} is told of step {step}, in which it was FRESH")

    def play_gathered(self, rank, barrier, steps):
        absent = [other for other, arrivals in self.arrivals.items() if arrivals < barrier]
        if absent:
            self.say("barrier", f"rank {rank} ends barrier {barrier} without ranks {absent}")
        last = max([step for step in self.synchronized if max(self.ends[step]) < self.turn], default=0)
        if all(self.history.through) and last + steps not in self.synchronized:
            self.say("barrier", f"rank {rank} tells that all synchronise step {last + steps}")

    def below(self, host):
        """Return the ranks of a host and of those below it in the tree of hosts."""
        hosts = simulation.hosts(self.world)
        found = [rank for rank, at in enumerate(hosts) if at == host]
        for child in range(ARITY * host + 1, min(ARITY * (host + 1), max(hosts)) + 1):
            found += self.below(child)
        return found

    def at_place(self, target, place):
        """Return the ranks at a place of a node, whose words are at the rank `target`."""
        hosts = simulation.hosts(self.world)
        if place:
            return self.below(ARITY * hosts[target] + place)
        return [rank for rank, at in enumerate(hosts) if at == hosts[target]]

    def play_node(self, rank, target, before, after):
        barrier, was = field_of(after, NODE_BARRIER), field_of(before, NODE_BARRIER)
        kept = field_of(before, PLACES) if was == barrier else 0
        if barrier < was or field_of(after, PLACES) & kept != kept:
            self.say("barrier", f"rank {rank} takes marks of barrier {barrier} away from rank {target}")
        for place in range(self.layout.places):
            absent = [r for r in self.at_place(target, place) if self.arrivals[r] < barrier]
            if absent and field_of(after, PLACES) >> place & 1:
                self.say("barrier", f"rank {rank} marks place {place} at barrier {barrier} without {absent}")

    def play_counted(self, rank, target, place, barrier, count):
        arrived = [r for r in self.at_place(target, place) if self.arrivals[r] >= barrier]
        if barrier > self.arrivals[rank] or count > len(arrived):
            self.say("barrier", f"rank {rank} counts {count} at place {place}: barrier {barrier}, {arrived}")

    def play_called(self, rank, before, after):
        quorum = self.world.sync_quorum
        arrived = sum(
            arrivals >= self.arrivals[rank] and not self.in_join(other)
            for other, arrivals in self.arrivals.items()
        )
        if after % self.world.sync_period or after <= before or quorum is None or arrived < quorum:
            self.say("called", f"rank {rank} calls to step {after} after {before}, with {arrived} arrivals")
        self.called = after
        self.calls.add(after)

    def play_record(self, rank, home, word, before, after):
        layout = self.layout
        if word == 1:
            record = self.record_of(rank, self.under_way(rank))
            if record is None:
                self.say("one_owner", f"rank {rank} counts a chunk of a record that no rank has begun")
                return
            record.finished += 1
            if after != before + 1 or record.finished > sum(mark == DONE for mark in record.marks.values()):
                self.say("one_owner", f"rank {rank} counts a chunk too many: {record}")
            return
        step, was = field_of(after, RECORD_STEP), field_of(before, RECORD_STEP)
        if step < was:
            self.say("opened_once", f"rank {rank} takes a word of step {was} back to {step}")
        if word == 0:
            self.play_state(rank, home, before, after)
            return
        record = self.records.get((home, step))
        if record is None:
            self.say(
                "opened_once", f"rank {rank} writes into the record of step {step}, which no rank has begun"
            )
        elif word < 2 + layout.group_size:
            self.play_contribution(record, word - 2, field_of(after, AGE), field_of(after, SLOT))
        else:
            chunk, mark = word - 2 - layout.group_size, field_of(after, MARK)
            known = record.marks.get(chunk, 0)
            if record.phase != OPEN or known == DONE or (mark == DONE) != (known == CLAIMED):
                self.say("one_owner", f"rank {rank} marks chunk {chunk} of step {step} {mark} after {known}")
            record.marks[chunk] = mark
            if mark == DONE:
                record.owners[chunk] = field_of(after, OWNER)

    def play_state(self, rank, home, before, after):
        step, phase, arrivals = (field_of(after, place) for place in (RECORD_STEP, PHASE, ARRIVALS))
        if step > field_of(before, RECORD_STEP):
            fine = arrivals == 1 and phase in (GATHERING, ACTIVATING)
            self.records[home, step] = Record(step, self.group(home, step))
        else:
            moves = {
                GATHERING: {(GATHERING, 1), (ACTIVATING, 0), (ACTIVATING, 1)},
                ACTIVATING: {(OPEN, 0)},
                OPEN: set(),
            }[field_of(before, PHASE)]
            fine = (phase, arrivals - field_of(before, ARRIVALS)) in moves
        record = self.records[home, step]
        record.phase = phase
        quorum = min(self.world.quorum, sum(not self.in_join(other) for other in record.group))
        if phase == OPEN and arrivals < quorum and not self.ends_waits(record.group, step):
            self.say("quorum", f"step {step} is opened with {arrivals} members, not {quorum}: {record}")
        if phase == OPEN:
            record.opened += 1
            fine = fine and len(record.contributions) == len(record.group)
        if not fine:
            self.say("opened_once", f"rank {rank} moves a state from {before:x} to {after:x}: {record}")

    def play_contribution(self, record, member, age, slot):
        if member >= len(record.group):
            self.say("opened_once", f"member {member} contributes, of a smaller group: {record}")
            return
        rank, step = record.group[member], record.step
        if record.phase != ACTIVATING or member in record.contributions:
            self.say("opened_once", f"the contribution of rank {rank} to step {step} is changed: {record}")
        record.contributions[member] = step - age, slot
        if self.content.get((rank, slot)) != step - age:
            self.say(
                "slot", f"slot {slot} of rank {rank} holds {self.content.get((rank, slot))}, not {step - age}"
            )
        if self.pins[rank, slot] < 1:
            self.say("slot", f"slot {slot} of rank {rank} contributes to step {step} without a pin")
        if not (step - 1) // self.world.sync_period * self.world.sync_period <= step - age <= step:
            self.say("age", f"rank {rank} contributes to step {step} a model {age} steps old")


class Results:
    """What the ranks of a history got, against numpy."""

    def __init__(self, replay):
        self.replay, self.history, self.world = replay, replay.history, replay.world
        self.wrong = replay.wrong
        self.all_moved = {}  # (rank, step): what moved() has returned
        for rank, steps in enumerate(self.history.steps):
            for step in steps:
                self.check(rank, step)
        if all(self.history.through):
            self.check_shares()
        self.check_turn()

    def model(self, rank, step):
        """Return what a rank published as its model of a step."""
        if step == 0:
            return simulation.model(self.world.leaves, 0, 0)
        if self.replay.is_synchronized(step):
            everybody = [self.moved(r, self.came(r, step)) for r in range(self.world.ranks)]
            return models.mean_over_hosts(everybody, simulation.hosts(self.world))
        return self.moved(rank, step)

    def moved(self, rank, came):
        """Return the model with which a rank came to a step, with what overlap adds to it."""
        if (rank, came) not in self.all_moved:
            mine = simulation.model(self.world.leaves, rank, came)
            brought = self.brought(rank, came) if self.world.overlap else None
            if brought is not None:
                average, before = brought
                in_groups = len(mine) - self.world.synchronized
                mine = (
                    *map(models.moved, mine[:in_groups], average[:in_groups], before[:in_groups]),
                    *mine[in_groups:],
                )
            self.all_moved[rank, came] = mine
        return self.all_moved[rank, came]

    def brought(self, rank, came):
        """Return what the group step before brought to a rank: an average, and its part in it; or None."""
        before = [s for s in self.history.steps[rank] if s.step < came and s.outcome is not Outcome.LOCAL]
        if not before or before[-1].outcome in (Outcome.SYNCHRONIZED, Outcome.MISSED):
            return None
        if len(before[-1].group) == 1:
            return None
        return self.mean(self.contributions(rank, before[-1])), self.moved(rank, before[-1].step)

    def contributions(self, rank, step):
        """Return whose models of which steps a group step has averaged for a rank."""
        found = [(r, step.source_step - age) for r, age in zip(step.group, step.ages, strict=True)]
        age = step.ages[step.group.index(rank)]
        if step.outcome is Outcome.LATE and step.source_step - age != step.step:
            found.append((rank, step.step))
        return found

    def came(self, rank, step):
        """Return the step with whose model a rank has come to a synchronisation."""
        return next(
            (s.came for s in self.history.steps[rank] if s.step == step), self.replay.last_step(rank) + 1
        )

    def mean(self, contributions):
        return models.group_mean([self.model(rank, step) for rank, step in contributions])

    def check(self, rank, step):
        here = f"rank {rank}: {step}"
        mine = simulation.model(self.world.leaves, rank, step.step)
        if (step.outcome is Outcome.LOCAL) != self.replay.is_local(step.step):
            self.wrong["local"].append(f"exchanges something, or nothing: {here}")
        if step.outcome is Outcome.LOCAL:
            if not models.same_bits(step.result, mine):
                self.wrong["local"].append(f"LOCAL with another model: {here}")
            return
        if step.outcome is Outcome.SYNCHRONIZED:
            if step.skipped and not step.joined and step.step not in self.replay.calls:
                self.wrong["called"].append(f"jumps though nobody has called: {here}")
            if not models.same_bits(step.result, self.model(rank, step.step)):
                self.wrong["models_equal"].append(f"not the mean of all: {here}")
            return
        if self.world.overlap and not models.same_bits(step.result, self.moved(rank, step.step)):
            self.wrong["overlap"].append(f"not its model with what the step before brought: {here}")
        if step.outcome is Outcome.MISSED:
            if not (self.world.overlap or models.same_bits(step.result, mine)):
                self.wrong["formulas"].append(f"MISSED with another model: {here}")
            if step.source_step != step.step:
                self.wrong["formulas"].append(f"MISSED from another step: {here}")
            if not step.interrupted and not self.recycled(rank, step):
                self.wrong["missed"].append(f"MISSED what was still kept: {here}")
            return
        if step.group != self.replay.group(rank, step.source_step):
            self.wrong["formulas"].append(f"another group's step: {here}")
            return
        if len(step.group) == 1:
            if not (self.world.overlap or models.same_bits(step.result, mine)):
                self.wrong["formulas"].append(f"alone, but another model: {here}")
            return
        record = self.replay.record_of(rank, step.source_step)
        ages = tuple(
            step.source_step - at for at, _ in (record.contributions[m] for m in range(len(step.group)))
        )
        if ages != step.ages:
            self.wrong["same_sum"].append(f"contributions of ages {ages}: {here}")
        age = ages[step.group.index(rank)]
        if (step.outcome is Outcome.FRESH) != (age == 0 and step.source_step == step.step):
            self.wrong["formulas"].append(f"its own contribution was {age} old: {here}")
        if self.world.overlap:
            return  # the average is a part of the next result
        contributions = self.contributions(rank, step)
        in_groups = len(mine) - self.world.synchronized
        if not models.same_bits(step.result[in_groups:], mine[in_groups:]):
            self.wrong["formulas"].append(f"averages what synchronisations alone average: {here}")
        if not models.same_bits(step.result[:in_groups], self.mean(contributions)[:in_groups]):
            self.wrong["same_sum"].append(f"not numpy's average of {contributions}: {here}")

    def recycled(self, rank, step):
        """Say whether an owner of sums that the rank may have wanted had begun to replace them by then."""
        records = [self.replay.record_of(rank, source) for source in range(step.step, self.world.steps + 1)]
        return any(
            tag > record.step and turn <= step.ended
            for record in records
            if record is not None
            # What it summed itself a rank does not collect.
            for owner in {record.group[member] for member in record.owners.values()} - {rank}
            for turn, tag in self.replay.tags[owner, self.replay.number(record.step) % RESULTS]
        )

    def check_shares(self):
        """Check that of each group that ran, the members made each chunk once, and one began."""
        for record in self.replay.records.values():
            steps = [s for rank in record.group for s in self.history.steps[rank] if s.step == record.step]
            computed = sum(step.chunks_computed for step in steps)
            if computed != self.history.layout.chunks:
                self.wrong["one_owner"].append(f"{computed} chunks were made at {record}")
            begun = sum(step.initiated for step in steps)
            if begun != 1 or record.opened != 1:
                self.wrong["opened_once"].append(f"{begun} ranks began, {record.opened} opened {record}")

    def check_turn(self):
        """Check that ages and steps of a rank only go forward."""
        for rank, steps in enumerate(self.history.steps):
            for one, other in pairwise(steps):
                if other.step != one.step + 1 + other.skipped:
                    self.wrong["formulas"].append(f"rank {rank} goes from step {one.step} to {other.step}")


def violations(history):
    """Return what a history breaks: sentences, by the name of the invariant."""
    replay = Replay(history)
    Results(replay)
    return dict(replay.wrong)
