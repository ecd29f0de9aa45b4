"""The mutations of mutations.py: one break each, as a replacement of text in a source file."""

from dataclasses import dataclass

PROTOCOL, SNAPSHOTS = "wagma_rma/protocol/protocol.pyx", "wagma_rma/protocol/snapshots.pyx"
REMOTE = "wagma_rma/windows/remote.pyx"
BUFFERS = "tests/ranks/test_buffers.py"


@dataclass(frozen=True)
class Mutation:
    name: str
    file: str
    old: str
    new: str
    also: tuple[str, str] | None = None  # another edit of the same file
    equivalent: str = ""  # why nothing can catch it; run only when it is named
    tests: str = "tests/proof/test_protocol.py"
    quick: bool = False
    mpi: str = ""  # the only MPI for which it changes what is run


MUTATIONS = [
    # Publishing and pins.
    Mutation(
        "retired not checked",
        SNAPSHOTS,
        "if slot != self.current_slot and self.retired[slot] == 0 and not",
        "if slot != self.current_slot and not",
        quick=True,
    ),
    Mutation(
        "lent slots are chosen",
        SNAPSHOTS,
        " and not self.lent[slot]:\n                    return",
        ":\n                    return",
    ),
    Mutation(
        "a lent model is copied like any other",
        SNAPSHOTS,
        "            if there:\n",
        "            if False:\n",
        tests=BUFFERS,
    ),
    Mutation(
        "a lent model is published under its own average",
        SNAPSHOTS,
        "\n                             and not begin <= pointers.targets[i] < begin + self.layout.snapshot_bytes)",
        ")",
        tests=BUFFERS,
    ),
    Mutation(
        "part of a lent model is enough",
        SNAPSHOTS,
        "there = (there and pointers",
        "there = (True and pointers",
        tests=BUFFERS,
    ),
    Mutation(
        "a published slot stays lent",
        SNAPSHOTS,
        "            self.lent[slot] = False\n            self.seconds",
        "            self.seconds",
    ),
    Mutation(
        "Buffers: published arrays may be written to",
        "wagma_rma/buffers.py",
        "            leaf.setflags(write=False)\n",
        "            pass\n",
        tests=BUFFERS,
    ),
    Mutation(
        "Buffers: an average lies where its model does",
        "wagma_rma/buffers.py",
        "            if not self._any_lies_in(slot, leaves):\n",
        "            if True:\n",
        tests=BUFFERS,
    ),
    Mutation(
        "Buffers: a slot for an average that was refused stays lent",
        "wagma_rma/buffers.py",
        "        for slot in list(self._lent)[1:]:\n",
        "        for slot in []:\n",
        tests=BUFFERS,
    ),
    Mutation(
        "Buffers: a slot that Ctrl-C has made forgotten stays lent",
        "wagma_rma/buffers.py",
        "            if slot not in self._lent:\n",
        "            if False:\n",
        tests=BUFFERS,
    ),
    Mutation(
        "Buffers: a view that begins where a lent array does counts as one",
        "wagma_rma/model/leaf_pointers.pyx",
        " or not is_plain(leaf)):\n            return",
        "):\n            return",
        tests=BUFFERS,
    ),
    Mutation(
        "Buffers: an output is written over what was published",
        "wagma_rma/averager.py",
        "        if self._buffers.holds_any_of(filled):\n",
        "        if False:\n",
        tests=BUFFERS,
    ),
    Mutation(
        "Buffers: windows are freed under arrays",
        "wagma_rma/buffers.py",
        "        return bool(self._memory)\n",
        "        return False\n",
        tests=BUFFERS,
    ),
    Mutation(
        "no pin",
        SNAPSHOTS,
        "return self.window.fetch_add(rank, self.layout.published, one_pin(), found)",
        "return self.window.load(rank, self.layout.published, 1, found)",
    ),
    Mutation(
        "neither pins nor unpins",
        SNAPSHOTS,
        "return self.window.fetch_add(rank, self.layout.published, one_pin(), found)",
        "return self.window.load(rank, self.layout.published, 1, found)",
        also=(
            "return self.window.fetch_add(rank, self.layout.retired + 8 * slot, minus_one, &self.ignored)",
            "return 0",
        ),
    ),
    Mutation("pins not settled", SNAPSHOTS, "        if taken:\n", "        if False:\n"),
    Mutation(
        "pins settled across the overflow of their field",
        SNAPSHOTS,
        "        taken = (published_pins(found) - self.pins_settled) & PINS\n",
        "        taken = published_pins(found) - self.pins_settled\n",
    ),
    Mutation(
        "whole pin count settled",
        SNAPSHOTS,
        "taken = (published_pins(found) - self.pins_settled) & PINS",
        "taken = published_pins(found)",
    ),
    Mutation(
        "data after word: no write fence before publishing",
        SNAPSHOTS,
        "        self.window.write_fence()\n        self.window.fetch_add(",
        "        self.window.fetch_add(",
        quick=True,
    ),
    Mutation(
        "published before it is written",
        SNAPSHOTS,
        "        self.write(slot, pointers)\n        self.move_on(step, slot)\n        return 1",
        "        self.move_on(step, slot)\n        self.write(slot, pointers)\n"
        "        self.window.write_fence()\n        return 1",
    ),
    Mutation(
        "slot of the newest snapshot written again",
        SNAPSHOTS,
        "if slot != self.current_slot and self.retired[slot] == 0 and",
        "if self.retired[slot] == 0 and",
    ),
    Mutation(
        "published although no slot is free",
        SNAPSHOTS,
        "        if slot < 0:\n            self.own = self.spare",
        "        if slot < 0:\n            slot = (self.current_slot + 1) % self.layout.slots\n"
        "        if slot < 0:\n            self.own = self.spare",
    ),
    Mutation(
        "unpinned at the first finished chunk",
        PROTOCOL,
        "if (self.finished_found + 1) % <uint64_t> self.layout.chunks == 0:",
        "if self.finished_found % <uint64_t> self.layout.chunks == 0:",
    ),
    Mutation(
        "one member not unpinned",
        PROTOCOL,
        "        for m in range(self.group.size):\n"
        "            self.snapshots.unpin(self.group.ranks[m], contribution_slot",
        "        for m in range(1, self.group.size):\n"
        "            self.snapshots.unpin(self.group.ranks[m], contribution_slot",
    ),
    # Opening.
    Mutation(
        "losing helper does not unpin",
        PROTOCOL,
        "            if self.swapped[m] != self.contributions[m]:\n",
        "            if False:\n",
        quick=True,
    ),
    Mutation(
        "record loaded after the pins",
        PROTOCOL,
        "                self.snapshots.pin(self.group.ranks[m], &self.found[m])\n        self.window.complete()\n",
        "                self.snapshots.pin(self.group.ranks[m], &self.found[m])\n        self.window.complete()\n"
        "        self.load_contributions(False)\n",
    ),
    Mutation(
        "later step of a member not noticed",
        PROTOCOL,
        "            if published_step(self.found[m]) > step:\n",
        "            if False:\n",
        equivalent="who has left the step has seen it open, so the swap from an older contribution fails",
    ),
    Mutation(
        "arrivals counted in ACTIVATING",
        PROTOCOL,
        "            elif state_phase(self.state) == GATHERING:\n"
        "                arrived = state_arrived(self.state) + 1",
        "            elif state_phase(self.state) != OPEN:\n"
        "                arrived = state_arrived(self.state) + 1",
    ),
    Mutation(
        "opened before all contributions are there",
        PROTOCOL,
        "        for m in range(self.group.size):\n            self.swapped[m] = self.contributions[m]\n",
        "        self.swap_state(OPEN, state_arrived(self.state), &swapped)\n"
        "        for m in range(self.group.size):\n            self.swapped[m] = self.contributions[m]\n",
    ),
    Mutation(
        "quorum ignored",
        PROTOCOL,
        "self.window.now() >= wait.until and state_arrived(self.state) >= quorum)",
        "self.window.now() >= wait.until)",
    ),
    Mutation(
        "no patience by default",
        PROTOCOL,
        "        return max(LEAST_PATIENCE, self.layout.chunks * (self.sum_seconds + self.collect_seconds))\n",
        "        return 0\n",
    ),
    Mutation(
        "one long sum becomes patience",
        PROTOCOL,
        "    return MEMORY * past + (1 - MEMORY) * min(sample, 2 * past)\n",
        "    return MEMORY * past + (1 - MEMORY) * sample\n",
    ),
    Mutation(
        "waits for ever for a stopped activator",
        PROTOCOL,
        "elif self.outcome.initiated or 0 <= activating_since < self.window.now() - self.window.least_take_over:",
        "elif self.outcome.initiated:",
    ),
    Mutation(
        "wrong age",
        PROTOCOL,
        "pack_contribution(step, step - published_step(self.found[m]), published_slot(self.found[m]))",
        "pack_contribution(step, 0, published_slot(self.found[m]))",
    ),
    Mutation(
        "wrong slot",
        PROTOCOL,
        "pack_contribution(step, step - published_step(self.found[m]), published_slot(self.found[m]))",
        "pack_contribution(step, step - published_step(self.found[m]), 0)",
    ),
    # Choosing the source.
    Mutation(
        "s = max(v, latest) for every LATE", PROTOCOL, "        if self.was_open:\n", "        if True:\n"
    ),
    Mutation(
        "latest set when a step opens",
        PROTOCOL,
        "        self.swap_state(OPEN, state_arrived(self.state), &swapped)\n        return 0",
        "        self.swap_state(OPEN, state_arrived(self.state), &swapped)\n"
        "        for m in range(self.group.size):\n"
        "            if published_step(self.found[m]) != step:\n"
        "                self.window.fetch_max(self.group.ranks[m], self.layout.latest, step, &self.swapped[m])\n"
        "        return self.window.complete()",
    ),
    Mutation(
        "latest told to FRESH ranks too",
        PROTOCOL,
        "            if contribution_age(self.contributions[m]) != 0:\n                self.window.fetch_max",
        "            if True:\n                self.window.fetch_max",
    ),
    Mutation(
        "LATE always mixes",
        PROTOCOL,
        "self.mixes = (self.outcome.source_step - contribution_age(self.contributions[self.group.me])) != step",
        "self.mixes = True",
    ),
    Mutation(
        "LATE never mixes",
        PROTOCOL,
        "        self.mixes = (self.outcome.source_step",
        "        self.mixes = False and (self.outcome.source_step",
    ),
    Mutation(
        "wrong divisor for LATE",
        PROTOCOL,
        "        output.divisor = self.group.size + self.mixes\n",
        "        output.divisor = self.group.size\n",
        quick=True,
    ),
    Mutation(
        "contributions of the later step not loaded",
        PROTOCOL,
        "                self.aim(latest)\n                self.load_contributions(True)\n",
        "                self.aim(latest)\n",
    ),
    # Chunks.
    Mutation(
        "chunks that are taken are claimed again",
        PROTOCOL,
        "            if word_step(self.chunks[c]) != self.outcome.step:\n                return c\n",
        "            return c\n",
    ),
    Mutation(
        "DONE stored, not swapped",
        PROTOCOL,
        "        self.window.compare_and_swap(self.home, self.layout.chunk_word(self.outcome.step, c), seen,\n"
        "                                     pack_chunk(self.outcome.step, DONE, self.group.me), &self.done_found)\n",
        "        self.window.store(self.home, self.layout.chunk_word(self.outcome.step, c),\n"
        "                          pack_chunk(self.outcome.step, DONE, self.group.me))\n"
        "        self.done_found = seen\n",
    ),
    Mutation(
        "losers count in finished",
        PROTOCOL,
        "            self.chunks[c] = self.done_found\n            return 0\n",
        "            self.chunks[c] = self.done_found\n"
        "            self.begin_count()\n            self.window.complete()\n            return 0\n",
    ),
    Mutation(
        "finished compared with C",
        PROTOCOL,
        "if (self.finished_found + 1) % <uint64_t> self.layout.chunks == 0:",
        "if self.finished_found + 1 == <uint64_t> self.layout.chunks:",
    ),
    Mutation(
        "the last chunk is not counted",
        PROTOCOL,
        "        while left or done:\n",
        "        while left:\n",
    ),
    Mutation(
        "what a look finds is what the swap to DONE expected",
        PROTOCOL,
        "                self.end_done(summed, seen)\n",
        "                self.end_done(summed, self.chunks[summed])\n",
    ),
    Mutation(
        "counted in the turn of DONE, before it is known to be this rank's",
        PROTOCOL,
        "                self.begin_done(summed, seen)\n            counting = done\n",
        "                self.begin_done(summed, seen)\n            counting = summed >= 0\n",
        also=(
            "                done = self.collected[summed]\n                left -= done\n",
            "                done = 0\n                left -= self.collected[summed]\n",
        ),
    ),
    Mutation(
        "a lane is used again before its reads are complete",
        PROTOCOL,
        "        self.window.complete_reads(lane)\n        self.scatter(c, <char*>",
        "        self.scatter(c, <char*>",
    ),
    Mutation(
        "a chunk counts as collected whether or not its sums are this rank's",
        PROTOCOL,
        "        if self.done_found != seen:\n",
        "        if False:\n",
    ),
    Mutation(
        "waits for ever for a stopped claimer",
        PROTOCOL,
        "                if now - wait.since < take_over:\n",
        "                if True:\n",
    ),
    Mutation(
        "a take-over does not set its tag",
        PROTOCOL,
        "                self.start_sum(0, c, pointers)\n                self.sum_chunk(0, c, pointers)\n",
        "                self.tagged = True\n"
        "                self.start_sum(0, c, pointers)\n                self.sum_chunk(0, c, pointers)\n",
    ),
    Mutation(
        "own model summed though an older one contributes",
        PROTOCOL,
        "if (m == self.group.me and self.outcome.kind == FRESH and not",
        "if (m == self.group.me and not",
    ),
    Mutation(
        "a member left out of the sum",
        PROTOCOL,
        "            slot = contribution_slot(self.contributions[m])\n",
        "            slot = contribution_slot(self.contributions[max(m - 1, 0)])\n",
    ),
    Mutation(
        "sum in another order at each member",
        PROTOCOL,
        "            self.read(lane, m, m, self.layout.snapshot(slot)",
        "            self.read(lane, (m + self.group.me) % self.group.size, m, self.layout.snapshot(slot)",
    ),
    Mutation(
        "summed before the reads are complete",
        PROTOCOL,
        "        self.window.complete_reads(lane)\n        self.scatter(c, self.window.own",
        "        self.scatter(c, self.window.own",
    ),
    Mutation(
        "DONE before the sum is visible: no write fence",
        PROTOCOL,
        "        self.window.read_fence()\n        self.window.write_fence()\n        return 0\n",
        "        self.window.read_fence()\n        return 0\n",
    ),
    Mutation(
        "DONE before the sources are read: no read fence",
        PROTOCOL,
        "        self.window.read_fence()\n        self.window.write_fence()\n        return 0\n",
        "        self.window.write_fence()\n        return 0\n",
    ),
    # Results.
    Mutation(
        "tag after data",
        PROTOCOL,
        "            self.window.fetch_max(self.window.rank, self.layout.result_tag + 8 * (step % RESULTS), step, &found)\n"
        "            self.window.complete()\n            self.window.write_fence()\n            self.tagged = True\n",
        "            pass\n",
        also=(
            "        self.window.wrote(place, chunk.count * section.sum_width)\n",
            "        self.window.wrote(place, chunk.count * section.sum_width)\n"
            "        self.window.fetch_max(self.window.rank, self.layout.result_tag + 8 * (step % RESULTS), step,\n"
            "                              &found)\n        self.window.complete()\n",
        ),
    ),
    Mutation(
        "no fence between tag and data",
        PROTOCOL,
        "            self.window.complete()\n            self.window.write_fence()\n            self.tagged = True",
        "            self.window.complete()\n            self.tagged = True",
    ),
    Mutation(
        "no tag check by the reader",
        PROTOCOL,
        "            kept[0] = kept[0] and self.found[m] == step\n",
        "            pass\n",
        quick=True,
    ),
    Mutation(
        "only the last owner's tag checked",
        PROTOCOL,
        "            kept[0] = kept[0] and self.found[m] == step\n",
        "            kept[0] = self.found[m] == step\n",
    ),
    Mutation(
        "no read fence between data and tag",
        PROTOCOL,
        "        self.window.read_fence()\n        for m in range(self.group.size):\n"
        "            self.found[m] = step\n",
        "        for m in range(self.group.size):\n            self.found[m] = step\n",
    ),
    Mutation(
        "MISSED keeps what was collected",
        PROTOCOL,
        "        self.outcome.kind = MISSED\n        return self.snapshots.restore(pointers)\n",
        "        self.outcome.kind = MISSED\n        return 0\n",
    ),
    Mutation(
        "MISSED reports the later step that it could not use",
        PROTOCOL,
        "        if self.outcome.source_step != self.outcome.step:\n            self.aim(self.outcome.step)\n",
        "        if False:\n            self.aim(self.outcome.step)\n",
    ),
    Mutation(
        "MISSED restored from the newest snapshot",
        SNAPSHOTS,
        '        """Copy `own` into the caller\'s output, leaf by leaf."""\n',
        '        """Copy `own` into the caller\'s output, leaf by leaf."""\n'
        "        self.own = self.window.own(self.layout.snapshot(self.current_slot))\n",
    ),
    Mutation(
        "collected from the result slot of its own step",
        PROTOCOL,
        "            self.layout.result(self.outcome.source_step) + section.result",
        "            self.layout.result(self.outcome.step) + section.result",
    ),
    # Synchronisation and layout.
    Mutation(
        "no barrier after the synchronisation",
        "wagma_rma/protocol/synchronization.py",
        "        yield self._every_rank(self._not_come_to, published), FOR_RANKS\n        # Only now",
        "        # Only now",
    ),
    Mutation(
        "mean of all not divided by their number",
        SNAPSHOTS,
        "        output.divisor = self.window.ranks\n",
        "        output.divisor = 1\n",
    ),
    Mutation(
        "K < tau: too few records",
        "wagma_rma/options.py",
        "            0 if alone else self.sync_period,\n",
        "            0 if alone else max(1, self.sync_period - 2),\n",
    ),
    Mutation(
        "an interrupted wait leaves its record closed",
        PROTOCOL,
        "                        or self.window.interrupted):\n"
        "                    self.swap_state(ACTIVATING, state_arrived(self.state), &swapped)\n",
        "                        or self.window.interrupted):\n"
        "                    if self.window.interrupted:\n                        return 0\n"
        "                    self.swap_state(ACTIVATING, state_arrived(self.state), &swapped)\n",
    ),
    # Windows, by the conformance suite.
    Mutation(
        "SharedWindow: fetch_add in two operations",
        "wagma_rma/atomics.h",
        "return atomic_fetch_add((wagma_word *)word, addend);",
        "uint64_t seen = atomic_load((wagma_word *)word);\n    sched_yield();\n"
        "    atomic_store((wagma_word *)word, seen + addend);\n    return seen;",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "SharedWindow: fetch_max lowers",
        "wagma_rma/atomics.h",
        "while (seen < value && !atomic",
        "while (!atomic",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "SharedWindow: compare_and_swap in two operations",
        "wagma_rma/atomics.h",
        "    atomic_compare_exchange_strong((wagma_word *)word, &expected, desired);\n    return expected;",
        "    uint64_t seen = atomic_load((wagma_word *)word);\n    sched_yield();\n"
        "    if (seen == expected) atomic_store((wagma_word *)word, desired);\n    return seen;",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "SharedWindow: loads the first word only",
        "wagma_rma/windows/mapped.pyx",
        "            values[i] = wagma_load(self.base[rank] + word + 8 * i)",
        "            values[i] = wagma_load(self.base[rank] + word)",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "SharedWindow: reads from itself",
        "wagma_rma/windows/mapped.pyx",
        "        bytes[0] = self.base[rank] + offset",
        "        bytes[0] = self.base[self.rank] + offset",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "SharedWindow: no fence",
        "wagma_rma/atomics.h",
        "    atomic_thread_fence(memory_order_seq_cst);\n",
        "",
        equivalent="x86 keeps the order of plain stores, and of plain loads, and every word's verb is a barrier there",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "SimulatedWindow: a write fence that does nothing",
        "wagma_rma/testing/simulated_window.pyx",
        "        self.settle(WORD, 0)\n        self.settle(WRITE, 0)\n",
        "        self.settle(WORD, 0)\n",
        tests="tests/unit/test_windows.py",
        quick=True,
    ),
    Mutation(
        "SimulatedWindow: a read fence that does nothing",
        "wagma_rma/testing/simulated_window.pyx",
        "    cdef int read_fence(self) except -1 nogil:\n        self.may_be_old = False\n",
        "    cdef int read_fence(self) except -1 nogil:\n",
        tests="tests/unit/test_windows.py",
    ),
    Mutation(
        "SimulatedWindow: reads complete with another lane's",
        "wagma_rma/testing/simulated_window.pyx",
        "        self.settle(READ, lane)\n",
        "        self.settle(READ, 0)\n",
        tests="tests/unit/test_windows.py",
    ),
    # The window over MPI.
    Mutation(
        "RemoteWindow: the thread's operations are not waited for",
        REMOTE,
        "        if self.operating and not self.ringing:\n            self.wait_for_thread()\n        self.slept = 0\n",
        "        self.slept = 0\n",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "RemoteWindow: what was found is not given",
        "wagma_rma/mpi/operations.c",
        "        if (w->operations[i].found) *",
        "        if (!w->operations[i].found) *",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "RemoteWindow: operations are not flushed",
        "wagma_rma/mpi/operations.c",
        "        if (!error) error = w->rma->flush(rank, w->win);\n",
        "",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "RemoteWindow: only one rank is flushed",
        "wagma_rma/mpi/operations.c",
        "        if (!error) error = w->rma->flush(rank, w->win);\n",
        "        if (!error) error = w->rma->flush(rank, w->win);\n        break;\n",
        mpi="mpich",  # Open MPI over TCP makes a compare-and-swap before it returns
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "RemoteWindow: additions replace",
        "wagma_rma/mpi/operations.c",
        "wagma_handle ops[] = {w->nothing, w->replace, w->add, w->max};",
        "wagma_handle ops[] = {w->nothing, w->replace, w->replace, w->max};",
        mpi="mpich",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "RemoteWindow: the maximum is a sum",
        "wagma_rma/mpi/operations.c",
        "wagma_handle ops[] = {w->nothing, w->replace, w->add, w->max};",
        "wagma_handle ops[] = {w->nothing, w->replace, w->add, w->add};",
        mpi="mpich",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "RemoteWindow: operations on one word do not keep their order",
        "wagma_rma/mpi/operations.c",
        "if (before->state != MADE && before->word == o->word && before->rank == o->rank) return 1;",
        "if (before->state != MADE && before->word == o->word && before->rank == o->rank) return 0;",
        mpi="openmpi",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "RemoteWindow: a swap that fails counts as made",
        "wagma_rma/mpi/operations.c",
        "if (swapped || o->verb",
        "if (1 || o->verb",
        mpi="openmpi",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "RemoteWindow: bulk reads are not waited for",
        REMOTE,
        "        if not request.active:\n",
        "        if True:\n",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "RemoteWindow: only the first piece of a read is waited for",
        REMOTE,
        "        for i in range(lane * self.sources * self.pointers, (lane + 1) * self.sources * self.pointers):\n",
        "        for i in range(lane * self.sources * self.pointers, lane * self.sources * self.pointers + 1):\n",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "RemoteWindow: lanes read into the same memory",
        REMOTE,
        "        bytes[0] = self.scratch + place * self.source_bytes\n",
        "        bytes[0] = self.scratch + source * self.source_bytes\n",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "RemoteWindow: an error of MPI is not looked at",
        REMOTE,
        "        if error == 0:\n            return 0\n        with gil:\n            self.drop()\n",
        "        if True:\n            return 0\n        with gil:\n            self.drop()\n",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "RemoteWindow: the rank itself waits in MPI",
        REMOTE,
        "            if self.in_flight():\n",
        "            if False:\n",
        mpi="mpich",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "RemoteWindow: the rank that is flushed is named",
        REMOTE,
        "self.look(self.now() - started, self.awaited())",
        "self.look(self.now() - started, self.far.waits_for)",
        mpi="mpich",
        tests="tests/ranks/test_windows.py",
    ),
    Mutation(
        "RemoteWindow: the thread does not serve",
        "wagma_rma/mpi/progress.c",
        "        p->words->rma->poll(p->comm);\n",
        "",
        tests="tests/ranks/test_windows.py",
    ),
]
