"""The cooperative, wait-avoiding group average over one-sided memory: one group step of one rank.

Theory of operation
-------------------
At a step the ranks form groups. Each member publishes its model as a *snapshot* in its own memory and arrives at the
group's *record*, which lies at one member, its *home*. The last member to arrive, or the first one whose patience ends,
activates the group: it *pins* the newest snapshot of every member, present or not, and writes into the record which
snapshots contribute. Then the record is open, and the members that are present share the work: they *claim* *chunks* of
the model one by one, sum the contributions of a chunk into a result slot of their own, and mark it done. Each of them
collects the sums of all chunks from their owners. The member that finishes the last chunk gives the pins back. No rank
acts for an absent one, and no rank waits for it: whatever a stopped rank leaves unfinished, the others can do again.

A rank that finds its group's record open has missed the start; its older snapshot contributed for it, and it mixes the
sum with the model it comes with (LATE). Instead of that step it may use the newest complete step at which a group used
an old model of this rank. If the sums have been overwritten in the meantime it keeps its own model (MISSED).

The sequence of a step stands in ``group_step``; its parts are modules: ``snapshots`` (publishing and pins), ``record``
(arriving and opening), ``exchange``, ``sums`` and ``results`` (sharing and collecting). The fields of words stand in
``words``, their places in ``layout``. These modules know a window, groups and steps, and neither numpy nor MPI nor a
clock of their own. They run without the GIL. Source: WAGMA-SGD, Li et al., IEEE TPDS 32(7), 2021, Algorithm 2, made
one-sided.
"""

cimport cython

from libc.string cimport memset
from wagma_rma.protocol.words cimport contribution_age

# Even ranks that are "in time" arrive at different times, because of the operating system's scheduler. A group average
# shorter than this gains nothing by starting without them.
cdef double LEAST_PATIENCE = 100e-6
# How many exchanges a rank may wait, each as long as if all members shared it.
cdef double EXCHANGES = 2
# The part of a rank's own time between two steps that it may wait. The steps of balanced ranks vary by some per cent,
# and where they vary by 2, partners of changing groups differ by up to 9 (benchmarks/README.md, "Late ranks").
cdef double SHARE = 0.1
# The same for a call to a synchronisation that is due: all others would wait for the step that this rank begins.
cdef double CALL_SHARE = 0.5


@cython.final
cdef class Protocol:
    """Group steps of one rank over a window.

    Args:
        window: the memory; its nbytes are the layout's.
        layout: where everything lies.
        groups: this rank's group at group step 1, 2, ... of a full turn, ascending ranks.
        quorum: arrivals that it takes to start an average; in a smaller group, all its members.
        patience: seconds to wait for the others when the quorum is there; negative: the larger of twice a running
            estimate of the exchange's cost, and a tenth of its own time between two steps (`pace`).
        group_period: steps from one group step to the next; at the others a rank is left alone.
        calls: by which ranks are called to a synchronisation before its step; None: they are not.
    """

    def __cinit__(self, Window window, Layout layout, list groups, int quorum, double patience,
                  uint64_t group_period=1, Calls calls=None):
        self.calls = calls if calls is not None else Calls(window, layout)
        self.window = window
        self.waiter = window.waiter
        self.layout = layout
        self.group_period = group_period
        self.quorum = quorum
        self.patience = patience
        self.turn = Turn(window.rank, groups)
        self.pace = Pace()
        self.snapshots = Snapshots(window, layout, self.calls)
        self.record = Record(window, layout, self.snapshots, self.turn, group_period)
        self.exchange = Exchange(window, layout, self.record)

    def prepare(self, LeafPointers pointers):
        """Copy this rank's start into its window; return what Snapshots.prepare() does. Local."""
        started = self.waiter.now()
        first = self.snapshots.prepare(pointers)
        # The time to copy a model is the first guess of the time to sum one member's.
        seconds = max(1e-7, self.waiter.now() - started) / self.layout.chunks
        self.exchange.sum_seconds = seconds * self.layout.group_size
        self.exchange.collect_seconds = seconds
        return first

    def begin(self, uint64_t step):
        """Publish the first snapshot as the start. Local; a barrier must come before anyone's first step."""
        self.snapshots.begin(step)
        self.last_step = self.last_synchronized = step

    def step(self, uint64_t step, LeafPointers pointers):
        """Average the model with this rank's group at `step` (equations in wagma_rma.GroupAverager.average).

        At a step that is no multiple of the group period, give the model back as it came; nothing waits then.

        Not collective. Waits for others until patience is over and the quorum is there, and no longer. An interruption
        ends the wait at once; the step then counts as MISSED, the output holds the model as it came, and the
        interruption is raised.

        Returns:
            Whether the step was performed. If not, this rank has been called to a synchronisation, and nothing was done.
        """
        self.gathered = self.performed = False
        self.waited_for_call = 0
        try:
            with nogil:
                if step % self.group_period:
                    self.local_step(step, pointers)
                else:
                    self.group_step(step, pointers)
                if self.waiter.interrupted and self.gathered:
                    # The others have been served: they rely on an open record of every group in which this rank has
                    # arrived.
                    self.miss(pointers)
        except BaseException:
            # Another rank does not answer. The step can't be completed, but the output gets the model as it came.
            if self.gathered:
                self.snapshots.restore(pointers)
            raise
        if not self.performed:
            return False
        self.last_step = step
        self.count()
        self.waiter.raise_interruption()
        return True

    def waits_for_record(self):
        """Return whether this rank is in a wait for the record of its step to open."""
        return self.record.waiting

    def expect_fewer(self, int joined):
        """During a wait for the group: tell how many of its members will not come, since they have joined."""
        self.record.joined = joined

    def synchronized(self, uint64_t step):
        """Count a synchronisation as done, which ends now."""
        self.last_step = self.last_synchronized = step
        self.pace.end_step(self.waiter.now())

    def report(self):
        """Return the last step as a dict of report.Report's fields; `outcome` is a number."""
        cdef int m
        report = dict(self.last)
        if self.last.outcome == LOCAL:
            return report | {"group": (self.window.rank,), "ages": (0,)}
        report["group"] = tuple([self.record.group.ranks[m] for m in range(self.record.group.size)])
        report["ages"] = tuple([contribution_age(self.record.contributions[m])
                                for m in range(self.record.group.size)])
        return report

    def statistics(self):
        """Return sums over all steps but the synchronisations as a dict of report.Statistics' fields, but `synchronized`."""
        return dict(self.totals)

    def unfinished(self):
        """Return which records of this rank lack chunks; none does when nobody is in a group step."""
        cdef uint64_t done, number
        found = []
        for record in range(self.layout.records):
            number = record
            with nogil:
                self.window.load(self.window.rank, self.layout.finished(number), 1, &done)
                self.window.complete()
            if done % <uint64_t> self.layout.chunks:
                found.append(record)
        return found

    cdef void count(self) noexcept:
        """Add the last step to the sums over all."""
        cdef Totals* totals = &self.totals
        totals.steps += 1
        totals.fresh += self.last.outcome == FRESH
        totals.late += self.last.outcome == LATE
        totals.missed += self.last.outcome == MISSED
        totals.local += self.last.outcome == LOCAL
        totals.initiated += self.last.initiated
        totals.unpublished += self.last.outcome != LOCAL and not self.last.published
        totals.chunks_computed += self.last.chunks_computed
        totals.bytes_read += self.last.bytes_read
        totals.bytes_over_network += self.last.bytes_over_network
        totals.seconds_waited += self.last.seconds_waited
        totals.seconds += self.last.seconds

    cdef double now_patience(self) noexcept nogil:
        """Return the seconds to wait for the group at the next step."""
        if self.patience >= 0:
            return self.patience
        return max(LEAST_PATIENCE, SHARE * self.pace.usual(), EXCHANGES * self.exchange.usual())

    cdef int local_step(self, uint64_t step, LeafPointers pointers) except -1 nogil:
        """Perform a step at which this rank exchanges nothing. Its time counts as the rank's own between two steps."""
        cdef double started = self.waiter.now()
        if self.calls.leader >= 0:
            self.calls.begin_look()
            self.window.complete()
            if self.calls.is_called(step):
                return 0
        self.performed = True
        memset(&self.last, 0, sizeof(Step))
        self.last.step = self.last.source_step = step
        self.last.outcome = LOCAL
        self.snapshots.pass_on(pointers, 0)
        self.last.seconds = self.waiter.now() - started
        return 0

    cdef int group_step(self, uint64_t step, LeafPointers pointers) except -1 nogil:
        """Perform a step, as PROTOCOL.md's "A group step" numbers its parts."""
        cdef double started = self.waiter.now(), patience
        cdef Step* last = &self.last
        cdef bint kept
        self.pace.begin_step(started)
        patience = self.now_patience()
        memset(last, 0, sizeof(Step))
        last.step = last.source_step = step
        self.record.select(step)
        self.calls.patience = patience if self.patience >= 0 else max(patience, CALL_SHARE * self.pace.usual())
        # 1. Publish.
        last.published = self.snapshots.publish(step, pointers, patience)
        if self.calls.is_called(step):
            self.waited_for_call = self.snapshots.seconds_waited + self.calls.seconds_waited
            return 0
        self.gathered = self.performed = True
        # Before any target is written: leaves that are averaged at synchronisations only are this rank's own here.
        self.snapshots.pass_on(pointers, self.layout.group_leaves)
        last.seconds_waited = self.snapshots.seconds_waited + self.calls.seconds_waited
        if self.record.group.size == 1:
            last.initiated = True
            self.snapshots.restore(pointers)
            self.end(started)
            return 0
        # 2. to 4. Arrive, wait a little, activate.
        self.record.arrive()
        self.record.wait_until_open(self.quorum, patience)
        last.initiated = self.record.initiated
        last.seconds_waited += self.record.seconds_waited
        self.choose_source()
        # 5. Exchange: share the work of this rank's own step, collect that of any.
        self.exchange.perform(last.source_step == step, pointers)
        last.chunks_computed = self.exchange.chunks_computed
        last.bytes_read = self.exchange.sums.bytes_read
        last.bytes_over_network = self.exchange.sums.bytes_over_network
        last.seconds_waited += self.exchange.seconds_waited
        # 6. Check.
        self.exchange.sums.results.end_read(self.record, &kept)
        if not kept:
            self.miss(pointers)
        self.end(started)
        return 0

    cdef void end(self, double started) noexcept nogil:
        """End a group step: note how long it took."""
        cdef double now = self.waiter.now()
        self.last.seconds = now - started
        self.pace.end_step(now)

    cdef int choose_source(self) except -1 nogil:
        """Decide between FRESH and LATE, and which step's sums to use."""
        cdef uint64_t latest
        cdef bint mixes = False
        self.record.load_contributions(True)
        if self.record.own_age() == 0:
            self.last.outcome = FRESH
        else:
            self.last.outcome = LATE
            if self.record.was_open:
                # The rank that opened the record before this rank arrived completes this step. A rank that has not
                # found the record open must do its part at its own step: otherwise nobody might finish the record.
                self.window.load(self.window.rank, self.layout.latest, 1, &latest)
                self.window.complete()
                if latest > self.last.step:
                    self.last.source_step = latest
                    self.record.select(latest)
                    self.record.load_contributions(True)
            # A later step may have used the very model that this rank comes with.
            mixes = self.record.step - self.record.own_age() != self.last.step
        self.exchange.sums.begin_step(self.last.outcome == FRESH, mixes)
        return 0

    cdef int miss(self, LeafPointers pointers) except -1 nogil:
        """Give this rank its own model back; it has used no later step."""
        if self.record.step != self.last.step:
            self.last.source_step = self.last.step
            self.record.select(self.last.step)
            self.record.load_contributions(True)
        self.last.outcome = MISSED
        return self.snapshots.restore(pointers)
