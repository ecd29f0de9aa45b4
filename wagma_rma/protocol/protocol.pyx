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

Where exchanges overlap with computing, a rank publishes and goes on; the rest of the step goes on behind its back, and what
it brings is added to the model of the next one: z = y + (A - z'), where y is the model that the rank comes with, z' what it
published at the group step before, and A what it would have continued with then. Its order of operations stays the same: it
publishes again when the rest is done.

The sequence of a step stands in ``group_step``; its parts are modules: ``snapshots`` (publishing and pins), ``record``
(arriving and opening), ``exchange``, ``sums`` and ``results`` (sharing and collecting). The fields of words stand in
``words``, their places in ``layout``. These modules know a window, groups and steps, and neither numpy nor MPI nor a
clock of their own. They run without the GIL. Source: WAGMA-SGD, Li et al., IEEE TPDS 32(7), 2021, Algorithm 2, made
one-sided.
"""

cimport cython

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
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
# The part of a rank's own time between two steps in which an exchange behind the program's back is to be over, waiting
# included: this wait costs nobody anything. Nor does it bring ranks together that come at different times.
cdef double SHARE_BEHIND = 0.75


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
        overlaps: the exchange of a step goes on behind the program's back.
        worker: the thread that performs it then; None: it is performed at once.
    """

    def __cinit__(self, Window window, Layout layout, list groups, int quorum, double patience,
                  uint64_t group_period=1, Calls calls=None, bint overlaps=False, Worker worker=None):
        self.calls = calls if calls is not None else Calls(window, layout)
        self.window = window
        self.waiter = window.waiter
        self.layout = layout
        self.group_period = group_period
        self.quorum = quorum
        self.patience = patience
        self.turn = Turn(window.rank, groups)
        self.pace = Pace()
        self.row = Row(window, layout)
        self.overlaps = overlaps
        self.worker = worker
        self.last.outcome = LOCAL  # before any step
        self.snapshots = Snapshots(window, layout, self.calls, overlaps)
        self.record = Record(window, layout, self.snapshots, self.turn, group_period)
        self.exchange = Exchange(window, layout, self.record)
        self.exchange.sums.differs = overlaps
        self.behind = LeafPointers(layout.order)
        self.contributions = <uint64_t*> calloc(layout.group_size, sizeof(uint64_t))
        if self.contributions is NULL:
            raise MemoryError("Protocol: no memory for the table of members")

    def __dealloc__(self):
        free(self.contributions)

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

        At a step that is no multiple of the group period, give the model back as it came; nothing waits then. With
        `overlaps` the rest of the group step before must have been awaited, see await_rest().

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
        except BaseException:
            # Another rank does not answer. The step can't be completed, but the output gets the model as it came.
            if self.gathered and not self.overlaps:
                self.snapshots.restore(pointers)
            self.abandon_call()
            raise
        if not self.performed:
            return False
        self.last_step = step
        if self.local.step == step:
            self.count(&self.local)
        elif not self.rest_under_way:
            self.count(&self.now)
        self.row.end(step, self.ended)
        if self.rest_under_way and self.local.step != step and self.interrupts_rest:
            self.await_rest(nothing, nothing)
        if not self.rest_under_way:
            self.waiter.raise_interruption()
        return True

    def await_rest(self, look, end, bint begins_step=False):
        """Wait for the rest of the last group step, where that goes on behind the program's back.

        Args:
            look, end: as of Worker.wait().
            begins_step: this rank comes to its next step; the wait is no time of its own.

        Raises:
            BaseException: the interruption of the rest, or what `look` has raised; or, with `rest_failed`, an error
                after which the step can't be completed.
        """
        cdef double began
        if not self.rest_under_way:
            return
        began = self.waiter.now()
        if begins_step:
            self.pace.begin_step(began)
            self.row.begin(AVERAGING, began)
        raised = self.worker.wait(look, end) if self.worker is not None else None
        self.rest_under_way = False
        failure = self.worker.take_error() if self.worker is not None else None
        self.now.seconds_waited += self.waiter.now() - began
        self.now.seconds += self.waiter.now() - began
        if failure is not None:
            self.rest_failed = True
            raise failure
        self.count(&self.now)
        if raised is not None and not self.waiter.interrupted:
            raise raised
        self.waiter.raise_interruption()

    cpdef bint rest_is_done(self):
        """Return whether await_rest() would not wait."""
        return self.worker is None or self.worker.is_done(0)

    def make_move(self, LeafPointers pointers):
        """Give the caller its model, moved by what the last group step has brought; then nothing is pending."""
        with nogil:
            self.snapshots.make_move(pointers)

    @property
    def last_over(self):
        """The last step that is over, of those that are no synchronisation."""
        return self.last.step

    @property
    def step_under_way(self):
        """The group step that is under way, or the last one."""
        return self.now.step

    def waits_for_record(self):
        """Return whether this rank is in a wait for the record of its step to open."""
        return self.record.waiting

    def expect_fewer(self, int joined):
        """During a wait for the group: tell how many of its members will not come, since they have joined."""
        self.record.joined = joined

    def begin_synchronization(self, bint joined=False):
        """Note that a synchronisation begins, or is continued; return the time.

        Args:
            joined: in join(), where a rank computes nothing between two calls.
        """
        cdef double now = self.waiter.now()
        self.row.begin(SYNCHRONIZING, now, joined)
        return now

    def abandon_call(self, bint goes_on=False):
        """Note that the call under way, if there is one, raises an exception without having done a step.

        Args:
            goes_on: the next call continues it.
        """
        self.row.abandon(self.waiter.now(), goes_on)

    def synchronized(self, uint64_t step):
        """Count a synchronisation as done, which ends now; return the time. It has made the move that was pending."""
        cdef double now = self.waiter.now()
        self.snapshots.pending = False
        self.last_step = self.last_synchronized = step
        self.pace.end_step(now)
        self.row.synchronize(step, now)
        return now

    def end_synchronization(self, double waited):
        """Note that the call returns which has synchronised, and waited for some seconds; return the time."""
        cdef double now = self.waiter.now()
        self.row.count(now - self.row.began, waited)
        self.row.end(self.last_step, now)
        return now

    def report(self):
        """Return the last step that is over as a dict of report.Report's fields; `outcome` is a number."""
        cdef int m
        report = dict(self.last)
        if self.last.outcome == LOCAL:
            return report | {"group": (self.window.rank,), "ages": (0,)}
        report["group"] = tuple([self.group.ranks[m] for m in range(self.group.size)])
        report["ages"] = tuple([contribution_age(self.contributions[m]) for m in range(self.group.size)])
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

    cdef void count(self, Step* done) noexcept:
        """Note that a step is over: it is the last one, and a part of the sums over all."""
        cdef Totals* totals = &self.totals
        self.last = done[0]
        if self.last.outcome != LOCAL:
            self.group = self.record.group
            memcpy(self.contributions, self.record.contributions, self.group.size * sizeof(uint64_t))
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
        if self.events is not None:
            self.record_event()
        self.row.count(self.last.seconds, self.last.seconds_waited)
        if self.last.outcome != LOCAL:
            self.row.count_exchange(self.last.outcome == LATE)

    cdef void record_event(self) noexcept:
        """Record the last step for a trace."""
        cdef bint is_local = self.last.outcome == LOCAL
        cdef Event* event = self.events.add(self.contributions, 0 if is_local else self.group.size)
        event.step, event.source_step, event.outcome = self.last.step, self.last.source_step, self.last.outcome
        event.bytes_read, event.bytes_over_network = self.last.bytes_read, self.last.bytes_over_network
        event.initiated = self.last.initiated
        if is_local:
            event.began, event.ended = self.ended - self.last.seconds, self.ended
            return
        event.began, event.published = self.moments.began, self.moments.published
        event.opened, event.exchanged, event.ended = self.moments.opened, self.moments.exchanged, self.moments.ended
        event.waited = self.moments.waited

    cdef double now_patience(self) noexcept nogil:
        """Return the seconds to wait at the next step, while the caller waits too."""
        if self.patience >= 0:
            return self.patience
        return max(LEAST_PATIENCE, SHARE * self.pace.usual(), EXCHANGES * self.exchange.usual())

    cdef double patience_behind(self, double patience) noexcept nogil:
        """Return the seconds to wait for the group behind the program's back, from what they are before it."""
        cdef double usual = self.pace.usual(), exchange = self.exchange.usual()
        if self.patience >= 0:
            return patience
        # Not for two exchanges: where one takes long, the next step would wait too. But a rank alone takes longer.
        return max(LEAST_PATIENCE, SHARE * usual, exchange, SHARE_BEHIND * usual - exchange)

    cdef int local_step(self, uint64_t step, LeafPointers pointers) except -1 nogil:
        """Perform a step at which this rank exchanges nothing. Its time counts as the rank's own between two steps."""
        cdef double started = self.waiter.now()
        self.row.begin(AVERAGING, started)
        if self.calls.leader >= 0 and not self.rest_under_way:  # which uses the window
            self.calls.begin_look()
            self.window.complete()
            if self.calls.is_called(step):
                return 0
        self.performed = True
        memset(&self.local, 0, sizeof(Step))
        self.local.step = self.local.source_step = step
        self.local.outcome = LOCAL
        self.snapshots.pass_on(pointers, 0)
        self.ended = self.waiter.now()
        self.local.seconds = self.ended - started
        return 0

    cdef int group_step(self, uint64_t step, LeafPointers pointers) except -1 nogil:
        """Perform a step, as PROTOCOL.md's "A group step" numbers its parts."""
        cdef double started, patience
        cdef Step* now = &self.now
        if pointers.copies is not None:
            pointers.copies.complete_down()  # what the device computes before is this rank's own time
        started = self.waiter.now()
        self.pace.begin_step(started)
        self.row.begin(AVERAGING, started)
        memset(&self.moments, 0, sizeof(Moments))
        self.moments.began = self.row.began  # earlier, if this call has waited for the rest of another step
        patience = self.now_patience()
        memset(now, 0, sizeof(Step))
        now.step = now.source_step = step
        self.record.select(step)
        self.calls.patience = patience if self.patience >= 0 else max(patience, CALL_SHARE * self.pace.usual())
        # 1. Publish.
        now.published = self.snapshots.publish(step, pointers, patience)
        if self.calls.is_called(step):
            self.waited_for_call = self.snapshots.seconds_waited + self.calls.seconds_waited
            return 0
        self.gathered = self.performed = True
        if self.events is not None:
            self.moments.published = self.waiter.now()
        # Before any target is written: leaves that are averaged at synchronisations only are this rank's own here.
        self.snapshots.pass_on(pointers, self.layout.group_leaves)
        now.seconds_waited = self.snapshots.seconds_waited + self.calls.seconds_waited
        if self.record.group.size == 1 or (self.overlaps and pointers.entangled):
            self.snapshots.restore(pointers)
        if self.record.group.size == 1:
            now.initiated = True
            if self.waiter.interrupted:
                now.outcome = MISSED
        elif self.overlaps:
            self.begin_rest(self.patience_behind(patience))
        else:
            self.rest(pointers, patience)
            now.seconds_waited += self.record.seconds_waited + self.exchange.seconds_waited
        self.end(started)
        return 0

    cdef int rest(self, LeafPointers pointers, double patience) except -1 nogil:
        """Perform what follows when this rank has published."""
        cdef Step* now = &self.now
        cdef bint kept
        # 2. to 4. Arrive, wait a little, activate.
        self.record.arrive()
        self.record.wait_until_open(self.quorum, patience)
        now.initiated = self.record.initiated
        self.choose_source()
        if self.events is not None:
            self.moments.opened = self.waiter.now()
        # 5. Exchange: share the work of this rank's own step, collect that of any.
        self.exchange.perform(now.source_step == now.step, pointers)
        now.chunks_computed = self.exchange.chunks_computed
        now.bytes_read = self.exchange.sums.bytes_read
        now.bytes_over_network = self.exchange.sums.bytes_over_network
        # 6. Check.
        self.exchange.sums.results.end_read(self.record, &kept)
        if self.events is not None:
            self.moments.exchanged = self.waiter.now()
        # An interruption has not kept this rank from serving the others: they rely on an open record of every group in
        # which it has arrived.
        if not kept or self.waiter.interrupted:
            self.miss(pointers)
        return 0

    cdef int perform_behind(self) except -1 nogil:
        """Perform the rest of a step; its averages become what is pending."""
        self.rest(self.behind, self.rest_patience)
        self.snapshots.pending = self.now.outcome != MISSED
        return 0

    cdef int begin_rest(self, double patience) except -1 nogil:
        """Have the rest of a step performed behind the program's back."""
        cdef int i
        for i in range(self.layout.group_leaves):
            self.behind.sources[i] = self.snapshots.own + self.layout.leaf_place(i)
            self.behind.targets[i] = self.snapshots.difference_of(i)
        self.rest_patience = patience
        self.interrupts_rest = self.waiter.interrupted
        self.rest_under_way = True
        if self.worker is None:
            return rest_behind(<void*> self)
        return self.worker.begin(rest_behind, <void*> self)

    cdef void end(self, double started) noexcept nogil:
        """End a group step for the caller: note how long it took."""
        self.ended = self.moments.ended = self.waiter.now()
        self.now.seconds = self.ended - started
        self.moments.waited = started - self.moments.began + self.now.seconds_waited
        self.pace.end_step(self.ended)

    cdef int choose_source(self) except -1 nogil:
        """Decide between FRESH and LATE, and which step's sums to use."""
        cdef uint64_t latest
        cdef bint mixes = False
        self.record.load_contributions(True)
        if self.record.own_age() == 0:
            self.now.outcome = FRESH
        else:
            self.now.outcome = LATE
            if self.record.was_open:
                # The rank that opened the record before this rank arrived completes this step. A rank that has not
                # found the record open must do its part at its own step: otherwise nobody might finish the record.
                self.window.load(self.window.rank, self.layout.latest, 1, &latest)
                self.window.complete()
                if latest > self.now.step:
                    self.now.source_step = latest
                    self.record.select(latest)
                    self.record.load_contributions(True)
            # A later step may have used the very model that this rank comes with.
            mixes = self.record.step - self.record.own_age() != self.now.step
        self.exchange.sums.begin_step(self.now.outcome == FRESH, mixes)
        return 0

    cdef int miss(self, LeafPointers pointers) except -1 nogil:
        """Give this rank its own model back; it has used no later step."""
        if self.record.step != self.now.step:
            self.now.source_step = self.now.step
            self.record.select(self.now.step)
            self.record.load_contributions(True)
        self.now.outcome = MISSED
        return 0 if pointers is self.behind else self.snapshots.restore(pointers)


def nothing(*ignored):
    """Do nothing."""


cdef int rest_behind(void* owner) except -1 nogil:
    """Perform the rest of a step behind the program's back, for the Protocol that owns it."""
    return (<Protocol> owner).perform_behind()

