"""The mutations that mutations.py runs: one break each, as edits of functions of the sources (anchors.py)."""

from dataclasses import dataclass

from tests.proof.anchors import Edit, Misfit, Sources, delete, insert, replace

BUFFERS = "tests/ranks/test_buffers.py"
WINDOWS = "tests/ranks/test_windows.py"
SIMULATED = "tests/unit/test_windows.py"
CUT_SHORT = "tests/ranks/test_cut_short.py"
ERRORS = "tests/ranks/test_errors.py"
DEPARTURES = "tests/ranks/test_departures.py"
EARLY = f"{DEPARTURES}::test_a_program_that_ends_early_tells_so"
UNEVEN = f"{DEPARTURES}::test_ranks_with_different_numbers_of_steps_end_with_one_mean"
JOINED_TWICE = f"{DEPARTURES}::test_join_that_was_cut_short_is_continued_by_join_alone"
ANYWHERE = f"{DEPARTURES}::test_after_an_exception_anywhere_in_a_call_nothing_is_wrong_and_nobody_hangs"
PROTOCOL = "tests/proof/test_protocol.py"
AGAIN = f"{PROTOCOL}::test_what_other_hosts_are_told_may_be_told_again_after_an_exception"
LOCAL = f"{PROTOCOL}::test_between_two_group_steps_a_rank_exchanges_nothing"
SILENCE = f"{PROTOCOL}::test_an_exception_in_any_round_trip_leaves_nothing_wrong_and_nobody_waiting"
ALL_PINNED = f"{PROTOCOL}::test_ranks_whose_snapshots_are_all_pinned_go_on_without_publishing"
CALLED = f"{PROTOCOL}::test_only_a_quorum_of_arrivals_calls_the_others"
BARRIERS = f"{PROTOCOL}::test_no_rank_passes_a_barrier_before_all_have_arrived"
EQUAL = f"{PROTOCOL}::test_all_models_are_equal_to_the_bit_after_every_synchronisation"
JOINS = f"{PROTOCOL}::test_ranks_that_join_after_different_steps_end_together_with_one_mean"
HANDED_ON = f"{PROTOCOL}::test_arrivals_are_handed_on_to_another_host_once_and_in_their_barrier"
TOLD = "tests/unit/test_departures.py"
ARRIVING = "tests/unit/test_barrier.py"
ROUNDS = "tests/unit/test_rounds.py"
ELASTIC = "tests/ranks/test_elastic.py"
JOINING = "tests/unit/test_synchronization.py"
INTERRUPTS = "tests/unit/test_interrupts.py"
SHARED = "tests/unit/test_exchange.py::test_the_time_of_a_shared_exchange_does_not_grow_with_the_group"
MOVED = f"{PROTOCOL}::test_with_overlap_a_model_gets_what_the_group_step_before_has_brought"
MOVED_BY = "tests/unit/test_overlap.py"
RESTS = "tests/ranks/test_overlap.py"
ON_CUDA = "tests/unit/test_cuda.py"
ROWS = "tests/unit/test_rows.py"
SEEN = "tests/ranks/test_seeing.py"
DIRECT = (
    ARRIVING,
    ROUNDS,
    ELASTIC,
    JOINING,
    SHARED,
    MOVED_BY,
    RESTS,
    ON_CUDA,
    ROWS,
    SEEN,
)  # of these any failed assertion catches a mutation


@dataclass(frozen=True)
class Mutation:
    """A break of the sources.

    Args:
        equivalent: why nothing can catch it; it is run only when it is named.
        tests: what must catch it.
        quick: it is one of the few that stand for the rest.
        mpi: the only MPI for which it changes what is run.
    """

    name: str
    edits: tuple[Edit, ...]
    equivalent: str = ""
    tests: str = PROTOCOL
    quick: bool = False
    mpi: str = ""

    def apply(self, sources: Sources) -> dict[str, str]:
        """Return the files that it changes, with their new texts.

        Raises:
            Misfit: it is no longer one of these sources.
        """
        try:
            return sources.edited(self.edits)
        except Misfit as error:
            raise Misfit(f"mutation {self.name}: {error}") from None


def mutation(name: str, *edits: Edit, **how: str | bool) -> Mutation:
    """Return a mutation."""
    return Mutation(name, edits, **how)  # type: ignore[arg-type]


PUBLISHING = [
    mutation(
        "retired not checked",
        replace("Snapshots.free_slot", "and self.retired[slot] == 0", ""),
        quick=True,
    ),
    mutation("lent slots are chosen", replace("Snapshots.free_slot", "and not self.lent[slot]", "")),
    mutation(
        "a lent model is copied like any other",
        replace("Snapshots.lent_slot_of", "if holds", "if False"),
        tests=BUFFERS,
    ),
    mutation(
        "a lent model is published under its own average",
        replace(
            "Snapshots.lent_slot_of",
            "and not begin <= pointers.targets[i] < begin + self.layout.snapshot_bytes",
            "",
        ),
        tests=BUFFERS,
    ),
    mutation(
        "part of a lent model is enough",
        replace("Snapshots.lent_slot_of", "(holds and", "(True and"),
        tests=BUFFERS,
    ),
    mutation("a published slot stays lent", delete("Snapshots.publish", "self.lent[slot] = False")),
    mutation(
        "Buffers: published arrays may be written to",
        delete("Buffers._forget", "setflags"),
        tests=BUFFERS,
    ),
    mutation(
        "Buffers: an average lies where its model does",
        replace("Buffers.besides", "not self._any_lies_in(slot, leaves)", "True"),
        tests=BUFFERS,
    ),
    mutation(
        "Buffers: a slot for an average that was refused stays lent",
        replace("Buffers.settle", "list(self._lent)[1:]", "[]"),
        tests=BUFFERS,
    ),
    mutation(
        "Buffers: a slot that Ctrl-C has made forgotten stays lent",
        replace("Buffers.settle", "slot not in self._lent", "False"),
        tests=BUFFERS,
    ),
    mutation(
        "Buffers: a view that begins where a lent array does counts as one",
        replace("begin_alike", "or not is_plain(leaf)", ""),
        tests=BUFFERS,
    ),
    mutation(
        "Buffers: an output is written over what was published",
        replace("Memory.hold", "self._buffers.holds_any_of(filled)", "False"),
        tests=BUFFERS,
    ),
    mutation(
        "Buffers: windows are freed under arrays",
        replace("Buffers.in_use", "bool(self._memory)", "False"),
        tests=BUFFERS,
    ),
    mutation(
        "no pin",
        replace(
            "Snapshots.pin",
            "fetch_add(rank, self.layout.published, one_pin(), found)",
            "load(rank, self.layout.published, 1, found)",
        ),
    ),
    mutation(
        "neither pins nor unpins",
        replace(
            "Snapshots.pin",
            "fetch_add(rank, self.layout.published, one_pin(), found)",
            "load(rank, self.layout.published, 1, found)",
        ),
        insert("Snapshots.unpin", "return 0", before="return"),
    ),
    mutation("pins not settled", replace("Snapshots.name_newest", "if taken", "if False")),
    mutation(
        "pins settled across the overflow of their field",
        replace("Snapshots.name_newest", "& mask(PIN_BITS)", ""),
    ),
    mutation(
        "whole pin count settled",
        replace("Snapshots.name_newest", "- self.pins_settled) & mask(PIN_BITS)", ")"),
    ),
    mutation(
        "data after word: no write fence before publishing",
        delete("Snapshots.name_newest", "self.window.write_fence()"),
        quick=True,
    ),
    mutation(
        "published before it is written",
        delete("Snapshots.publish", "self.write(slot, pointers, self.overlaps)"),
        insert(
            "Snapshots.publish",
            "self.write(slot, pointers, self.overlaps)\nself.window.write_fence()",
            after="self.name_newest(step, slot)",
        ),
    ),
    mutation(
        "slot of the newest snapshot written again",
        replace("Snapshots.free_slot", "slot != self.current_slot and", ""),
    ),
    mutation(
        "published although no slot is free",
        insert(
            "Snapshots.publish",
            "if slot < 0:\n    slot = (self.current_slot + 1) % self.layout.slots",
            before="if slot >= 0: self.lent[slot] = False",
        ),
        tests=ALL_PINNED,
    ),
    mutation(
        "unpinned at the first finished chunk",
        replace("Exchange.end_count", "(self.finished_found + 1)", "self.finished_found"),
    ),
    mutation(
        "one member not unpinned",
        replace("Record.unpin_all", "self.snapshots.unpin(", "if m > 0: self.snapshots.unpin("),
    ),
]

OPENING = [
    mutation(
        "losing helper does not unpin",
        replace("Record.activate", "self.swapped[m] != self.contributions[m]", "False"),
        quick=True,
    ),
    mutation(
        "record loaded after the pins",
        insert(
            "Record.activate",
            "self.load_contributions(False)",
            before="for m in range(self.group.size): self.swapped[m] =",
        ),
    ),
    mutation(
        "later step of a member not noticed",
        replace("Record.activate", "published_step(self.found[m]) > self.step", "False"),
        equivalent="a member that has left the step has seen it open, so the swap from an older contribution fails",
    ),
    mutation(
        "arrivals counted in ACTIVATING",
        replace("Record.arrive", "state_phase(self.state) == GATHERING", "state_phase(self.state) != OPEN"),
    ),
    mutation(
        "opened before all contributions are there",
        insert(
            "Record.activate",
            "self.swap_state(OPEN, state_arrivals(self.state), &swapped)",
            before="for m in range(self.group.size): self.swapped[m] =",
        ),
    ),
    mutation(
        "quorum ignored",
        replace("Record.wait_until_open", "and self.has_quorum(quorum)", ""),
    ),
    mutation(
        "no patience by default",
        replace("Protocol.now_patience", "return max(", "return 0 * max("),
    ),
    mutation(
        "patience for an exchange that nobody shares",
        replace("shared_by", "/ members", ""),
        tests=SHARED,
    ),
    mutation(
        "a rank waits no part of its own time",
        replace("Protocol.now_patience", "SHARE * self.pace.usual()", "0"),
        tests=f"{PROTOCOL}::test_ranks_whose_steps_vary_by_some_per_cent_meet_by_default",
    ),
    mutation(
        "one long time between two steps becomes patience",
        replace("Pace.usual", "max(low, min(high, self.between[2]))", "high"),
        tests=f"{PROTOCOL}::test_a_rank_waits_for_an_absent_one_a_tenth_of_what_its_steps_usually_take",
    ),
    mutation(
        "the end of a synchronisation is not noted",
        delete("Protocol.synchronized", "self.pace.end_step"),
        tests=f"{PROTOCOL}::test_what_a_rank_computes_after_a_synchronisation_counts_too",
    ),
    mutation("one long sum becomes patience", replace("estimate", "min(sample, 2 * past)", "sample")),
    mutation(
        "waits for ever for a stopped activator",
        replace("Record.wait_until_open", "0 <= activating_since <", "False and 0 <= activating_since <"),
    ),
    mutation("wrong age", replace("Record.activate", "self.step - published_step(self.found[m])", "0")),
    mutation(
        "wrong slot",
        replace(
            "Record.activate",
            "- published_step(self.found[m]), published_slot(self.found[m])",
            "- published_step(self.found[m]), 0",
        ),
    ),
    mutation(
        "an interrupted wait leaves its record closed",
        insert(
            "Record.wait_until_open",
            "if self.waiter.interrupted:\n    return 0",
            before="self.swap_state(ACTIVATING",
        ),
    ),
]

SOURCE = [
    mutation(
        "s = max(v, latest) for every LATE",
        replace("Protocol.choose_source", "if self.record.was_open", "if True"),
    ),
    mutation(
        "latest set when a step opens",
        insert(
            "Record.activate",
            "for m in range(self.group.size):\n"
            "    if published_step(self.found[m]) != self.step:\n"
            "        self.window.fetch_max(self.group.ranks[m], self.layout.latest, self.step, &self.swapped[m])\n"
            "self.window.complete()",
            after="self.swap_state(OPEN",
        ),
    ),
    mutation(
        "latest told to FRESH ranks too",
        replace("Record.unpin_all", "contribution_age(self.contributions[m]) != 0", "True"),
    ),
    mutation(
        "LATE always mixes",
        replace(
            "Protocol.choose_source", "self.record.step - self.record.own_age() != self.now.step", "True"
        ),
    ),
    mutation(
        "LATE never mixes",
        replace(
            "Protocol.choose_source", "self.record.step - self.record.own_age() != self.now.step", "False"
        ),
    ),
    mutation(
        "wrong divisor for LATE",
        replace("Sums.write_average", "+ self.mixes", ""),
        quick=True,
    ),
    mutation(
        "contributions of the later step not loaded",
        replace(
            "Protocol.choose_source",
            "self.record.select(latest) self.record.load_contributions(True)",
            "self.record.select(latest)",
        ),
    ),
]

CHUNKS = [
    mutation(
        "chunks that are taken are claimed again",
        replace("Exchange.next_to_claim", "word_step(self.words[c]) != self.record.step", "True"),
    ),
    mutation(
        "DONE stored, not swapped",
        # As good as a store, which a window does not have: swapped from whatever the word holds now.
        insert(
            "Exchange.begin_mark",
            "self.window.load(self.record.home, self.layout.chunk_word(self.record.step, self.summed), 1,\n"
            "                 &self.done_expected)\n"
            "self.window.complete()",
            before="compare_and_swap",
        ),
    ),
    mutation(
        "losers count in finished",
        insert(
            "Exchange.end_mark",
            "self.window.fetch_add(self.record.home, self.layout.finished(self.record.step), 1,\n"
            "                      &self.finished_found)\n"
            "self.window.complete()",
            after="self.words[self.summed] = self.done_found",
        ),
    ),
    mutation(
        "finished compared with C",
        replace(
            "Exchange.end_count",
            "(self.finished_found + 1) % <uint64_t> self.layout.chunks == 0",
            "self.finished_found + 1 == <uint64_t> self.layout.chunks",
        ),
    ),
    mutation(
        "the last chunk is not counted",
        replace("Exchange.perform", "self.left or self.uncounted", "self.left"),
    ),
    mutation(
        "what a look finds is what the swap to DONE expected",
        replace("Exchange.end_mark", "== self.done_expected", "== self.words[self.summed]"),
    ),
    mutation(
        "counted in the turn of DONE, before it is known to be this rank's",
        replace("Exchange.begin_count", "self.counting = self.uncounted", "self.counting = self.summed >= 0"),
        delete("Exchange.end_mark", "self.uncounted = True"),
    ),
    mutation(
        "a lane is used again before its reads are complete",
        delete("Sums.end_collecting", "self.window.complete_reads(lane)"),
    ),
    mutation(
        "a chunk counts as collected whether or not its sums are this rank's",
        replace("Exchange.end_mark", "self.done_found == self.done_expected", "True"),
    ),
    mutation(
        "waits for ever for a stopped claimer",
        replace(
            "Exchange.wait_or_take_over", "if now - self.idle.since <", "if True or now - self.idle.since <"
        ),
    ),
    mutation(
        "a take-over does not set its tag",
        insert(
            "Exchange.wait_or_take_over", "self.sums.results.tagged = True", before="self.sums.begin_sum("
        ),
    ),
    mutation(
        "own model summed though an older one contributes",
        replace("Sums.begin_sum", "and self.fresh", ""),
    ),
    mutation(
        "a member left out of the sum",
        replace("Sums.begin_sum", "self.record.contributions[m]", "self.record.contributions[max(m - 1, 0)]"),
    ),
    mutation(
        "sum in another order at each member",
        replace(
            "Sums.begin_sum",
            "self.read(lane, m,",
            "self.read(lane, (m + self.record.group.me) % self.record.group.size,",
        ),
    ),
    mutation(
        "summed before the reads are complete",
        delete("Sums.end_sum", "self.window.complete_reads(lane)"),
    ),
    mutation(
        "DONE before the sum is visible: no write fence",
        delete("Results.end_write", "self.window.write_fence()"),
    ),
    mutation(
        "DONE before the sources are read: no read fence",
        delete("Results.end_write", "self.window.read_fence()"),
    ),
]

RESULTS = [
    mutation(
        "tag after data",
        delete("Sums.end_sum", "self.results.begin_write("),
        replace("Sums.end_sum", "return self.results.end_write(", "self.results.end_write("),
        insert(
            "Sums.end_sum",
            "return self.results.begin_write(self.record.step)",
            after="self.results.end_write(",
        ),
    ),
    mutation(
        "no fence between tag and data",
        delete("Results.begin_write", "self.window.write_fence()"),
    ),
    mutation("no tag check by the reader", delete("Results.end_read", "kept[0] and"), quick=True),
    mutation(
        "only the last owner's tag checked",
        replace("Results.end_read", "kept[0] and", ""),
    ),
    mutation(
        "no read fence between data and tag",
        delete("Results.end_read", "self.window.read_fence()"),
    ),
    mutation(
        "MISSED keeps what was collected",
        replace("Protocol.miss", "else self.snapshots.restore(pointers)", "else 0"),
    ),
    mutation(
        "MISSED reports the later step that it could not use",
        replace("Protocol.miss", "self.record.step != self.now.step", "False"),
    ),
    mutation(
        "MISSED restored from the newest snapshot",
        insert(
            "Snapshots.restore",
            "self.own = self.window.own(self.layout.snapshot(self.current_slot))",
            before="for i in range(",
        ),
    ),
    mutation(
        "collected from the result slot of its own step",
        # Which is the step of the newest snapshot, where a rank could publish.
        replace(
            "Sums.begin_collecting",
            "member, begin + section.result",
            "member, self.layout.result(self.snapshots.current_step // self.record.group_period) + section.result",
        ),
    ),
]

ALONE = [
    mutation(
        "what synchronisations alone average is not passed on at a group step",
        delete("Protocol.group_step", "self.snapshots.pass_on"),
        tests=f"{PROTOCOL}::test_fresh_late_and_missed_ranks_get_what_their_formulas_say",
    ),
    mutation(
        "what synchronisations alone average is passed on over other sources",
        replace("Snapshots.pass_on", "by_spare = pointers.entangled", "by_spare = False"),
        tests="tests/unit/test_steps.py",
    ),
    mutation(
        "the contribution stands for the mean of what synchronisations alone average",
        replace(
            "Snapshots.publish_mean",
            "self.mean_part, self.mean_divisor = REGION_TOTALS",
            "self.mean_part, self.mean_divisor = REGION_MODEL",
        ),
        tests=f"{PROTOCOL}::test_all_models_are_equal_to_the_bit_after_every_synchronisation",
    ),
    mutation(
        "leaves that are in no snapshot have chunks",
        replace("Layout.__cinit__", "if number < WAGMA_DTYPES", "if True"),
        tests="tests/unit/test_layout.py",
    ),
]

OVERLAP = [
    mutation(
        "overlap: what a step has brought is never added",
        replace("Protocol.perform_behind", "self.now.outcome != MISSED", "False"),
        tests=MOVED,
        quick=True,
    ),
    mutation(
        "overlap: what a MISSED step has left behind is added",
        replace("Protocol.perform_behind", "self.now.outcome != MISSED", "True"),
        tests=MOVED,
    ),
    mutation(
        "overlap: the average takes the model's place",
        replace(
            "Sums.write_average", "output.before = own if self.differs else NULL", "output.before = NULL"
        ),
        tests=MOVED_BY,
    ),
    mutation(
        "overlap: what has been added is added again",
        replace(
            "Snapshots.publish",
            "self.write(slot, pointers, self.overlaps)\nself.pending = False",
            "self.write(slot, pointers, self.overlaps)",
        ),
        tests=MOVED,
    ),
    mutation(
        "overlap: a synchronisation leaves what is pending",
        delete("Protocol.synchronized", "self.snapshots.pending = False"),
        tests=MOVED,
    ),
    mutation(
        "overlap: a synchronisation sums what the caller has, without what is pending",
        replace("Reduction.read_callers", "or self.moved", ""),
        tests=EQUAL,
    ),
    mutation(
        "overlap: only the output gets what is pending, not the snapshot",
        replace("Snapshots.move", "moved.to, moved.also = place,", "moved.to, moved.also = self.spare,"),
        tests=MOVED,
    ),
    mutation(
        "overlap: an output is written over another leaf before that is read",
        replace("Snapshots.gather", "outputs and not pointers.entangled", "outputs"),
        tests=MOVED_BY,
    ),
    mutation(
        "overlap: a step begins before the rest of the one before is over",
        replace("Stepper.perform", "self.protocol.rest_under_way and", "False and"),
        tests=RESTS,
    ),
    mutation(
        "overlap: a synchronisation begins before the rest of a step is over",
        delete("Steps._synchronize", "self.stepper.await_rest()"),
        tests=RESTS,
    ),
    mutation(
        "overlap: time counts in which nobody waits for the rest",
        replace(
            "Watch.__call__", "0.0 if self._awaited_since is None", "seconds if self._awaited_since is None"
        ),
        tests=RESTS,
    ),
    mutation(
        "overlap: Ctrl-C does not end the waits of the rest",
        delete("Watch.end", "self._end = error"),
        tests=RESTS,
    ),
]

CUDA = [
    mutation(
        "CUDA: a step begins before copies of the last one have read what it overwrites",
        delete("CudaCopies.begin", "self.settle()"),
        tests=ON_CUDA,
    ),
    mutation(
        "CUDA: a model is published before it has come from the device",
        replace("CudaCopies.complete_down", "return self.wait_for(self.down)", "return 0"),
        tests=ON_CUDA,
    ),
    mutation(
        "CUDA: a chunk of the average stays on this host",
        delete(
            "Sums.write_average",
            "self.snapshots.give(pointers, i, begin - leaf.begin, <char*> output.out, count)",
        ),
        tests=ON_CUDA,
    ),
    mutation(
        "CUDA: an output does not get a model that nothing has moved",
        replace("Snapshots.answer", "return pointers.copies.pass_on(i, self.leaf_bytes(i))", "return 0"),
        tests=ON_CUDA,
    ),
    mutation(
        "CUDA: what the device has added is added again",
        replace("Snapshots.moves", "and not (self.given and pointers.moved)", ""),
        tests=ON_CUDA,
    ),
    mutation(
        "CUDA: the device is told of a difference where there is none",
        replace("Snapshots.give_difference", "copies.begin_flag(self.given)", "copies.begin_flag(True)"),
        tests=ON_CUDA,
    ),
    mutation(
        "CUDA: the driver keeps memory that is freed",
        replace(
            "CudaCopies.leave_device",
            'self.driver.check(self.calls.host_unregister(<void*> address), b"cuMemHostUnregister")',
            "pass",
        ),
        tests=ON_CUDA,
    ),
    mutation(
        "CUDA: a thread keeps the context of a step",
        delete("CudaCopies.end", "self.leave()"),
        tests=ON_CUDA,
    ),
    mutation(
        "CUDA: leaves of two devices are taken for leaves of one",
        replace("CudaCopies.find_device", "if found >= 0 and ordinal != found", "if False"),
        tests=ON_CUDA,
    ),
]

SYNCHRONIZATION = [
    mutation(
        "no barrier after the synchronisation",
        replace(
            "Synchronizer._phases",
            "yield self._barrier.is_over self._snapshots.free_reserved()",
            "self._snapshots.free_reserved()",
        ),
        tests=BARRIERS,
    ),
    mutation(
        "no barrier before the synchronisation",
        replace("Synchronizer._phases", "yield self._barrier.is_over self._counted_on", "self._counted_on"),
        tests=BARRIERS,
    ),
    mutation(
        "mean of all not divided by their number",
        replace("Reduction.write_mean", "output.divisor = self.window.ranks", "output.divisor = 1"),
        tests=EQUAL,
    ),
    mutation(
        "no slot is kept for the mean",
        delete("Snapshots.reserve", "self.reserved = slot"),
        tests=EQUAL,
    ),
    mutation(
        "the mean overwrites a contribution that others read",
        replace(
            "Snapshots.begin_mean", "self.current_slot if others_read else self.reserved", "self.reserved"
        ),
        tests=EQUAL,
    ),
    mutation(
        "collected before all columns of the host hold totals",
        delete("Synchronizer._phases", "yield self._reduction.is_summed"),
        tests=EQUAL,
    ),
    mutation(
        "a host counts as summed when its first column is",
        replace("Reduction.tell_summed", "self.summed += self.columns", "self.summed += 1"),
        tests=EQUAL,
    ),
    mutation(
        "a round begins before the sums that it reads are there",
        replace("Reduction.is_performed", "if self.missing(number)", "if False"),
        tests=EQUAL,
    ),
    mutation(
        "a round that others were told of is performed again",
        replace("Reduction.is_performed", "self.stage < self.plan.rounds[number].reaches", "True"),
        tests=SILENCE,
    ),
    mutation(
        "a stage is told before its sums are visible: no write fence",
        delete("Reduction.tell_stage", "self.window.write_fence()"),
        tests=EQUAL,
    ),
    mutation(
        "the output of a call that has continued a synchronisation is not filled",
        replace("Synchronizer._phases", "self._calls > calls_before", "False"),
        tests=JOINING,
    ),
    mutation(
        "a round reads the result that the round before did not write",
        replace(
            "plan", "TOTALS if k == last else (folds + k) % 2", "TOTALS if k == last else (folds + k + 1) % 2"
        ),
        tests=ROUNDS,
    ),
    mutation(
        "the way back copies a round too early",
        replace("plan", "needs = 2 + 2 * last - k", "needs = 1 + 2 * last - k"),
        tests=ROUNDS,
    ),
    mutation(
        "a stage is told at the place of another host",
        replace("Reduction.__cinit__", "peers(len(by_host), peer).index(host)", "0"),
        tests=EQUAL,
    ),
    mutation(
        "a round of two in one sums its own part only",
        replace("plan", "needs + 1, meets, digits[:-1]", "needs + 1, meets, digits"),
        tests=ROUNDS,
    ),
    mutation(
        "a stage is told to the first that waits for it",
        replace("waiting", "setdefault(round.needs, []).append(peer)", "setdefault(round.needs, [peer])"),
        tests=ROUNDS,
    ),
    mutation(
        "a host above the power of two is left out",
        replace("plan", "(host, host + within), (), (), 0, 1", "(host,), (), (), 0, 1"),
        tests=ROUNDS,
    ),
    mutation(
        "K < tau: too few records",
        replace(
            "Options.layout",
            "-(-self.sync_period // self.group_period)",
            "max(1, self.sync_period // self.group_period - 2)",
        ),
    ),
    mutation(
        "too few records where the group period does not divide the synchronisations'",
        replace(
            "Options.layout",
            "-(-self.sync_period // self.group_period)",
            "self.sync_period // self.group_period",
        ),
        tests=LOCAL,
    ),
    mutation(
        "groups rotate with the step, not with the group step",
        replace("Record.select", "self.turn.at(self.number)", "self.turn.at(step)"),
        tests=LOCAL,
    ),
    mutation(
        "neighbouring group steps share a result slot",
        replace("Results.begin_write", "tag(record.number)", "tag(record.step)"),
        replace("Results.end_read", "tag(record.number)", "tag(record.step)"),
        replace("Results.begin_read", "result(record.number)", "result(record.step)"),
        replace("Sums.end_sum", "result(self.record.number)", "result(self.record.step)"),
        tests=LOCAL,
    ),
    mutation(
        "a rank publishes at steps without an exchange",
        replace("Protocol.step", "if step % self.group_period", "if False"),
        tests=LOCAL,
    ),
]

BARRIER = [
    mutation(
        "an arrival is told before what it stands for is visible: no write fence",
        delete("Barrier.arrive", "self.window.write_fence()"),
        tests=EQUAL,
    ),
    mutation(
        "a barrier is over one arrival too early",
        replace("Barrier.count_in", "self.complete = self.count ==", "self.complete = self.count + 1 >="),
        tests=ARRIVING,
    ),
    mutation(
        "a rank goes on at the end of the barrier before",
        replace(
            "Barrier.has_ended", "gathered >> SAID_BITS < number", "(gathered >> SAID_BITS) + 1 < number"
        ),
        tests=BARRIERS,
    ),
    mutation(
        "a node is complete when one of its places is marked",
        replace("Barrier.set_mark", "self.complete = node_places(desired) == places", "self.complete = True"),
        tests=ARRIVING,
    ),
    mutation(
        "a mark takes the others away",
        replace("Barrier.set_mark", "mark | node_places(known)", "mark"),
        tests=ARRIVING,
    ),
    mutation(
        "a mark counts as set though another rank was faster",
        replace("Barrier.set_mark", "if found == known", "if True"),
        tests=ARRIVING,
    ),
    mutation(
        "a slow rank takes back marks of the next barrier",
        replace(
            "Barrier.set_mark",
            "if node_number(known) == node_number(pack_node(self.number + 1, 0, 0))",
            "if False",
        ),
        tests=AGAIN,
    ),
    mutation(
        "what ranks of other places have said is lost",
        replace("Barrier.set_mark", "max(said, node_said(known) & ~REFUSED)", "said"),
        tests=JOINING,
    ),
    mutation(
        "leaders do not tell the hosts below",
        replace("Barrier.is_over", "if over and self.leads and self.host", "if False"),
        tests=ARRIVING,
    ),
    mutation(
        "the end of a barrier that another host knows is not asked for",
        replace("Barrier.next_is_over", "if not over and self.has_ended(host, self.passed + 1)", "if False"),
        tests=ARRIVING,
    ),
    mutation(
        "different steps on a host are not found",
        replace("Barrier.count_in", "if self.contradicts(known)", "if False"),
        tests=ARRIVING,
    ),
    mutation(
        "different steps of two hosts are not found",
        replace("Barrier.set_mark", "if self.contradicts(node_said(known))", "if False"),
        tests=ARRIVING,
    ),
    mutation(
        "a refusal stays on its host",
        delete("Barrier.set_mark", "self.refuse(leader, self.code)"),
        tests=ARRIVING,
    ),
    mutation(
        "a refusal is hidden by a later step on its host",
        replace("Barrier.count_in", "if desired == max(known, said)", "if True"),
        tests=ARRIVING,
    ),
    mutation(
        "a refusal is hidden by what another host has said",
        replace(
            "Barrier.set_mark", "| ((self.said | node_said(known)) & REFUSED)", "| (self.said & REFUSED)"
        ),
        tests=ARRIVING,
    ),
    mutation(
        "a refusal of an earlier barrier counts",
        replace("Barrier.has_ended", "if gathered & REFUSED else 0", ""),
        tests=ARRIVING,
    ),
    mutation(
        "a wrong rank is told to have refused",
        replace(
            "Barrier.is_over", "<int> (CONTRADICTION - 1 - self.code)", "<int> (CONTRADICTION - self.code)"
        ),
        tests=ARRIVING,
    ),
    mutation(
        "a quorum calls one arrival too early",
        replace(
            "Barrier.go_on", "self.count >= <int64_t> self.quorum", "self.count + 1 >= <int64_t> self.quorum"
        ),
        tests=CALLED,
    ),
    mutation(
        "ranks that have joined count in the quorum",
        replace("Barrier.count_in", "self.count - <int64_t> (found >> ARRIVAL_BITS)", "self.count"),
        tests=ARRIVING,
    ),
    mutation(
        "arrivals at other hosts do not count in the quorum",
        replace("Barrier.sum_counts", "range(places)", "range(1)"),
        tests=ARRIVING,
    ),
    mutation(
        "arrivals at the barrier before count in the quorum",
        replace("Barrier.sum_counts", "if self.counts[place] >> SAID_BITS == self.number", "if True"),
        tests=ARRIVING,
    ),
    mutation(
        "a call reaches the first host only",
        replace("Barrier.call", "range(self.hosts)", "range(1)"),
        tests=ARRIVING,
    ),
    mutation(
        "a rank that has joined calls to its own step",
        replace("Barrier.called_for", "if not self.synchronises", "if False"),
        tests=ARRIVING,
    ),
    mutation(
        "a call may be to a step that average() does not synchronise",
        replace("Barrier.called_for", "0 if step % self.sync_period else step", "step"),
        tests=ARRIVING,
    ),
    mutation(
        "each arrival is handed on though nobody calls",
        replace("Barrier.arrive", "if calls and self.is_elastic() else 0", "if calls else 0"),
        tests=ARRIVING,
    ),
    mutation(
        "a member that waits for its quorum does not hear the call",
        replace("Record.wait_until_open", "or self.calls.is_called(self.step)", ""),
        tests=ELASTIC,
    ),
    mutation(
        "a rank that is called publishes and goes on",
        replace("Snapshots.publish", "if self.calls.is_called(step)", "if False"),
        replace("Protocol.group_step", "if self.calls.is_called(step)", "if False"),
        tests=ELASTIC,
    ),
    mutation(
        "a call is heard again after its synchronisation",
        replace("Calls.is_called", "self.called >= step", "self.called > 0"),
        tests=CALLED,
    ),
    mutation(
        "the wait for a call that was due is not counted",
        replace("Steps._synchronize", "before + seconds, before + waited", "before + seconds, waited"),
        tests=ELASTIC,
    ),
    mutation(
        "a jump that was cut short is not continued",
        replace("Steps._continues_jump", "self._synchronizer.cut_short and self._jumped", "False"),
        tests=ELASTIC,
    ),
]

LIFECYCLE = [
    mutation(
        "a synchronisation that was cut short leaves READY",
        replace("Steps._note_failure", "not self._synchronizer.cut_short", "True"),
        tests=CUT_SHORT,
    ),
    mutation(
        "a group step is served though a synchronisation was cut short",
        replace("REFUSALS", "State.SYNCHRONIZING: {Call.GROUP_STEP: _CUT_SHORT}", "State.SYNCHRONIZING: {}"),
        tests=CUT_SHORT,
        quick=True,
    ),
    mutation(
        "close() does not do the part that others count on",
        replace("Steps.close", "self._lifecycle.state is State.CLOSING_COUNTED_ON", "False"),
        tests=CUT_SHORT,
    ),
    mutation(
        "COUNTED_ON is forgotten by close()",
        replace(
            "TRANSITIONS",
            "Event.CLOSE: State.CLOSING_COUNTED_ON, Event.FORK: State.FORKED, }, State.BROKEN",
            "Event.CLOSE: State.CLOSING, Event.FORK: State.FORKED, }, State.BROKEN",
        ),
        tests=CUT_SHORT,
    ),
    mutation(
        "it is not noted that others count on a rank",
        delete("Steps._note_failure", "self._lifecycle.happens(Event.COUNT_ON)"),
        tests=CUT_SHORT,
    ),
    mutation(
        "BREAK not noted at a synchronisation",
        delete("Steps._note_failure", "self._lifecycle.happens(Event.BREAK, error)"),
        tests=ERRORS,
    ),
    mutation(
        "REFUSED keeps SYNCHRONIZING",
        delete("Steps._note_failure", "self._lifecycle.happens(Event.REFUSED)"),
        tests=ERRORS,
    ),
    mutation(
        "a rank that is slow to leave a refused synchronisation counts as one that waits in it",
        replace("Synchronizer._waits_before", "and entered_attempt(word) >= self._attempt", ""),
        tests=ERRORS,
    ),
    mutation(
        "a close() that was cut short serves steps",
        replace("REFUSALS", "State.CLOSING: dict.fromkeys(_EACH_STEP, _CLOSING)", "State.CLOSING: {}"),
        tests=ERRORS,
    ),
    mutation(
        "what is broken serves steps",
        replace("REFUSALS", "State.BROKEN: dict.fromkeys(_EACH_STEP, _BROKEN)", "State.BROKEN: {}"),
        tests=ERRORS,
    ),
]

CONFORMANCE = [
    mutation(
        "SharedWindow: fetch_add in two operations",
        replace(
            "wagma_fetch_add",
            "return atomic_fetch_add((wagma_word *)word, addend);",
            "int sched_yield(void); uint64_t seen = atomic_load((wagma_word *)word); sched_yield();"
            " atomic_store((wagma_word *)word, seen + addend); return seen;",
        ),
        tests=WINDOWS,
    ),
    mutation(
        "SharedWindow: fetch_max lowers",
        replace("wagma_fetch_max", "seen < value &&", ""),
        tests=WINDOWS,
    ),
    mutation(
        "SharedWindow: compare_and_swap in two operations",
        replace(
            "wagma_compare_and_swap",
            "atomic_compare_exchange_strong((wagma_word *)word, &expected, desired); return expected;",
            "int sched_yield(void); uint64_t seen = atomic_load((wagma_word *)word); sched_yield();"
            " if (seen == expected) atomic_store((wagma_word *)word, desired); return seen;",
        ),
        tests=WINDOWS,
    ),
    mutation(
        "SharedWindow: loads the first word only",
        replace("MappedWindow.load", "+ 8 * i", ""),
        tests=WINDOWS,
    ),
    mutation(
        "SharedWindow: reads from itself",
        replace("MappedWindow.read", "self.base[rank]", "self.base[self.rank]"),
        tests=WINDOWS,
    ),
    mutation(
        "SharedWindow: no fence",
        delete("wagma_fence", "atomic_thread_fence(memory_order_seq_cst)"),
        equivalent="x86 keeps the order of plain stores, and of plain loads, and every word's verb is a barrier there",
        tests=WINDOWS,
    ),
    mutation(
        "SimulatedWindow: a write fence that does nothing",
        delete("SimulatedWindow.write_fence", "self.settle(WRITE, 0)"),
        tests=SIMULATED,
        quick=True,
    ),
    mutation(
        "SimulatedWindow: a read fence that does nothing",
        delete("UnfencedReads.fence", "self.may_be_old = False"),
        tests=SIMULATED,
    ),
    mutation(
        "SimulatedWindow: reads complete with another lane's",
        replace("SimulatedWindow.complete_reads", "self.settle(READ, lane)", "self.settle(READ, 0)"),
        tests=SIMULATED,
    ),
]

REMOTE = [
    mutation(
        "RemoteWindow: the thread's operations are not waited for",
        replace("RemoteWords.complete", "self.performing and not self.only_bells", "False"),
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: what was found is not given",
        replace("wagma_batch_return_results", "if (b->operations[i].found)", "if (!b->operations[i].found)"),
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: operations are not flushed",
        delete("operations.c:flush", "b->rma->flush(rank, b->win)"),
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: only one rank is flushed",
        insert("operations.c:flush", "break;", after="b->rma->flush(rank, b->win)"),
        mpi="mpich",  # Open MPI over TCP performs a compare-and-swap before it returns
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: additions replace",
        replace("new_batch", "handle_of(MPI.SUM)", "handle_of(MPI.REPLACE)"),
        mpi="mpich",
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: the maximum is a sum",
        replace("new_batch", "handle_of(MPI.MAX)", "handle_of(MPI.SUM)"),
        mpi="mpich",
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: operations on one word do not keep their order",
        replace("operations.c:must_wait", "return 1", "return 0"),
        mpi="openmpi",
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: a swap that fails counts as made",
        replace("perform_by_swap", "if (swapped ||", "if (1 ||"),
        mpi="openmpi",
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: bulk reads are not waited for",
        replace("RemoteReads.complete_request", "not request.active", "True"),
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: only the first piece of a read is waited for",
        replace(
            "RemoteReads.complete",
            "(lane + 1) * self.sources * self.pieces",
            "lane * self.sources * self.pieces + 1",
        ),
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: lanes read into the same memory",
        replace("RemoteReads.begin", "place * self.source_bytes", "source * self.source_bytes"),
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: an error of MPI is not looked at",
        replace("RemoteWords.check", "error == 0", "True"),
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: operations are kept after an error",
        delete("RemoteWords.discard", "self.direct.count = 0"),
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: bells are not rung",
        replace("Bells.ring", "now - self.last_ring[rank] < RING_EVERY", "True"),
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: the rank itself waits in MPI",
        replace("RemoteWords.complete", "self.awaits_far_rank()", "False"),
        mpi="mpich",
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: the rank that is flushed is named",
        replace("RemoteWords.wait_for_thread", "self.awaited()", "self.threaded.waits_for"),
        mpi="mpich",
        tests=WINDOWS,
    ),
    mutation(
        "RemoteWindow: the thread does not serve",
        delete("progress.c:serve", "poll(p->comm)"),
        tests=WINDOWS,
    ),
]

DEPARTING = [
    mutation(
        "a rank that has left is waited for",
        replace("Departures._check_words", "if found:", "if False:"),
        tests=TOLD,
    ),
    mutation(
        "a process that has ended is waited for",
        replace("Departures.check", "if has_ended(process):", "if False:"),
        tests=TOLD,
    ),
    mutation(
        "after a death MPI_Finalize waits",
        delete("Departures.check", "abort_in_finalize()"),
        tests=TOLD,
    ),
    mutation(
        "who leaves by an exception says nothing",
        replace("GroupAverager.__exit__", "self._steps.leaving.leave(error)", "pass"),
        tests=ERRORS,
    ),
    mutation(
        "who ends says nothing", replace("_tell_all", "if not steps.leaving.ended:", "if False:"), tests=EARLY
    ),
    mutation(
        "who can't go on says nothing",
        replace("Leaving._tell_break", 'self._tell(BROKEN, cause or "an error")', "pass"),
        tests=ANYWHERE,
    ),
    mutation(
        "who can't go on waits in close()",
        replace("Synchronizer.close", "if self._departures.for_good:", "if False:"),
        tests=ERRORS,
    ),
    mutation(
        "the windows of one that can't go on are freed",
        replace("Synchronizer.close", "or self._departures.for_good", ""),
        tests=JOINING,
    ),
    mutation(
        "members that have joined are waited for",
        replace("Record.has_quorum", "- self.joined", ""),
        tests=UNEVEN,
    ),
    mutation(
        "join() does not see its last synchronisation",
        replace(
            "Barrier.is_over", "self.all_joined = not said_synchronises(self.said)", "self.all_joined = False"
        ),
        tests=JOINING,
    ),
    mutation(
        "a rank in join() does not learn which step it synchronises",
        delete("Synchronizer._phases", "self._step = self._barrier.step"),
        tests=JOINS,
    ),
    mutation(
        "a rank in join() comes for a step of its own",
        replace(
            "Synchronizer._phases",
            "self._step + joined, self._last, not joined",
            "self._step + joined, self._last, True",
        ),
        tests=JOINS,
    ),
    mutation(
        "an old join() counts",
        replace("Departures.joined", "and departure_step(word) >= since", ""),
        tests=JOINING,
    ),
    mutation(
        "join() brings the old model again",
        replace(
            "Steps._synchronize",
            "self._met, self._all_met = held.targets, self._synchronizer.all_joined",
            "self._met, self._all_met = None, self._synchronizer.all_joined",
        ),
        tests=JOINED_TWICE,
    ),
    mutation(
        "join() that was cut short begins anew",
        replace("Steps._join", "held: Held | None = None", "held = self._met = None; self._all_met = False"),
        tests=ANYWHERE,
    ),
    mutation(
        "a member that has published and is gone is waited for",
        replace("Synchronizer.check_group", "or self._had_gone(step, left.rank, waits_for_record)", ""),
        tests=SILENCE,
    ),
    mutation(
        "a member that did the step without publishing and has closed is missed",
        replace("Synchronizer.check_group", "and self._had_gone(step, rank, waits_for_record)", ""),
        tests=SILENCE,
    ),
    mutation(
        "who has done its part and left is missed",
        replace(
            "Synchronizer._check_open", "not any(self._barrier.next_is_over(rank) for rank in gone)", "True"
        ),
        tests=SILENCE,
    ),
    mutation(
        "a synchronisation that a look has ended is not continued",
        replace(
            "Synchronizer.synchronize",
            "interrupted = not self._failed or id(error) == self._waiter.raised",
            "interrupted = not self._failed",
        ),
        tests=SILENCE,
    ),
    mutation(
        "signals come through at any moment",
        replace("Interrupts.replace", "if callable(handler)", "if False and callable(handler)"),
        tests=INTERRUPTS,
    ),
    mutation(
        "a synchronisation left half done is taken for complete",
        replace("Synchronizer.synchronize", "if not self._complete:", "if False:"),
        equivalent="only an exception in the handling of another one leaves it so",
        tests=ANYWHERE,
    ),
    mutation(
        "a synchronisation left half done is begun again",
        replace("Steps._check_continues", "if self._lifecycle.state in HALFWAY", "if False"),
        tests=ANYWHERE,
    ),
    mutation(
        "a forked child uses the averager",
        replace("_forked", "lifecycle.happens(Event.FORK)", "pass"),
        tests="tests/unit/test_lifecycle.py",
    ),
]

SEEING = [
    mutation(
        "a row's first version is written before what it stands for",
        insert(
            "Row.tell",
            "wagma_store_relaxed(row, words[0])",
            before="wagma_store_relaxed(row + 8 * (HEAD_WORDS - 1)",
        ),
        tests=ROWS,
    ),
    mutation(
        "a row's last version is written after what it stands for",
        delete("Row.tell", "wagma_store_relaxed(row + 8 * (HEAD_WORDS - 1), words[HEAD_WORDS - 1])"),
        insert(
            "Row.tell",
            "wagma_store_relaxed(row + 8 * (HEAD_WORDS - 1), words[HEAD_WORDS - 1])",
            before="wagma_store_release(row",
        ),
        tests=ROWS,
    ),
    mutation(
        "the time before the first call counts as a step's",
        replace("Row.begin", "if self.has_returned and not joined:", "if not joined:"),
        tests=ROWS,
    ),
    mutation(
        "a trace that was cut short is not gathered any more",
        insert("Tracer.gather", "self._written = True", before="self._test = next(self._under_way)"),
        tests=SEEN,
    ),
    mutation(
        "traces are gathered though a rank has departed",
        replace(
            "Leaving.gather_trace",
            "if departures.for_good or departures.have_departed(everybody):",
            "if False:",
        ),
        tests=SEEN,
    ),
    mutation(
        "a trace leaves out the wait for the rest of the step before",
        replace("Protocol.group_step", "self.moments.began = self.row.began", "self.moments.began = started"),
        tests=SEEN,
    ),
]

MUTATIONS = [
    *PUBLISHING,
    *OPENING,
    *SOURCE,
    *CHUNKS,
    *RESULTS,
    *ALONE,
    *OVERLAP,
    *CUDA,
    *SYNCHRONIZATION,
    *BARRIER,
    *LIFECYCLE,
    *DEPARTING,
    *CONFORMANCE,
    *REMOTE,
    *SEEING,
]
