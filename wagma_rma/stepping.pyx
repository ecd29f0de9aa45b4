"""A group step as one call that nothing interrupts.

Python runs signal handlers between its own instructions, and there are none in a step: Ctrl-C comes through where a
rank waits, in code that knows what is still to be done (Waiter.run_handlers), or when the step is over. A step of a
small model takes some 2 us, so this is also the shortest way from a user's call to the protocol.
"""

cimport numpy as cnp
from libc.stdint cimport uint64_t
from wagma_rma.kernels.floats cimport DefaultFloats
from wagma_rma.model.leaf_pointers cimport LeafPointers, is_like
from wagma_rma.protocol.protocol cimport Protocol

from mpi4py import MPI

from wagma_rma.lifecycle import READY, Event
from wagma_rma.protocol.departures import RankLeft
from wagma_rma.protocol.protocol import nothing
from wagma_rma.protocol.synchronization import StepMismatch
from wagma_rma.protocol.words import STEP_LIMIT

cnp.import_array()

cdef uint64_t STEPS = STEP_LIMIT
cdef object is_finalized = MPI.Is_finalized
cdef object READY_STATE = READY


def deliver(list outputs, list targets):
    """Copy each target into its output, unless both are one array. A caller that gave addresses has no outputs."""
    if outputs is targets:
        return
    for output, target in zip(outputs, targets):
        if output is not target:
            output[...] = target


def check_countable(name, uint64_t step):
    """Raise RuntimeError if a step is more than the words can count."""
    if step >= STEPS:
        raise RuntimeError(f"{name}: step {STEPS - 1} is the last that a run can count; start a new run")


cdef class Guard:
    """A context manager for a call that is no group step.

    In the block signals are deferred, this thread alone uses the averager, and the floating-point environment is that
    of steps. No signal handler can raise between the three, since Python runs no handlers in compiled code.

    Args:
        deferral: of waiting.interrupts.
        busy: a lock, held by any thread that uses the averager.
        refuse: called where another thread uses the averager: raises what a user is told.
    """

    cdef object deferral, busy, refuse
    cdef DefaultFloats floats

    def __init__(self, deferral, busy, DefaultFloats floats, refuse):
        self.deferral = deferral
        self.busy = busy
        self.floats = floats
        self.refuse = refuse

    def __enter__(self):
        self.deferral.__enter__()
        if self.busy.acquire(False):
            self.floats.enter()
            return
        try:
            self.refuse()
        finally:
            self.deferral.__exit__(None, None, None)

    def __exit__(self, *error):
        self.floats.leave()
        self.busy.release()
        self.deferral.__exit__(*error)


cdef class Stepper:
    """Performs the group steps of one averager.

    Args:
        sync_period: steps from one synchronisation to the next.
        group_period: steps from one group step to the next.
        single: an array of the shape and dtype of a model that is one array, or None.
        buffers: the slots lent to the caller.
        lifecycle: the averager's.
        busy: a lock, held by any thread that uses the averager.
        check: called where the lifecycle does not say READY: raises what a user is told.
        expect: called before a step.
        refuse: called where another thread uses the averager: raises what a user is told.
        look, end: as of Worker.wait(), where a step goes on behind the program's back.
    """

    cdef Protocol protocol
    cdef LeafPointers pointers
    cdef DefaultFloats floats
    cdef uint64_t sync_period, group_period
    cdef cnp.ndarray single
    cdef public object buffers    # a test may replace them
    cdef object lifecycle, busy
    cdef object acquire, release  # of `busy`
    cdef object check, expect, refuse, look, end

    def __cinit__(self, Protocol protocol, LeafPointers pointers, DefaultFloats floats, uint64_t sync_period,
                  uint64_t group_period, single, buffers, lifecycle, busy, check, expect, refuse, look=nothing, end=nothing):
        self.protocol = protocol
        self.pointers = pointers
        self.floats = floats
        self.sync_period = sync_period
        self.group_period = group_period
        self.single = single
        self.buffers = buffers
        self.lifecycle = lifecycle
        self.busy = busy
        self.acquire, self.release = busy.acquire, busy.release
        self.check = check
        self.expect = expect
        self.refuse = refuse
        self.look, self.end = look, end

    def synchronizes_next(self):
        """Return whether the next step is a multiple of the period."""
        return (self.protocol.last_step + 1) % self.sync_period == 0

    def is_local_next(self):
        """Return whether average() exchanges nothing at the next step."""
        return not self.synchronizes_next() and (self.protocol.last_step + 1) % self.group_period != 0

    def step_in_place(self, model, out):
        """Perform the next step if it is a group step on one plain array in place; return whether it was."""
        if (out is not model or (self.protocol.last_step + 1) % self.sync_period == 0
                or not is_like(model, self.single)):
            return False
        cdef list leaves = [model]
        return self.step(leaves, leaves, leaves)

    def next_multiple(self):
        """Return the next step that is a multiple of the period."""
        return (self.protocol.last_step // self.sync_period + 1) * self.sync_period

    cpdef step(self, sources, list targets, list outputs):
        """Perform the next group step; return whether it was performed.

        If not, a quorum has called this rank to the next multiple of the period, which is to be synchronised.

        Args:
            sources, targets: as LeafPointers.hold(), of the leaves of the model and of the average.
            outputs: the leaves that get the average; a leaf that is not its own target is copied from that.

        Raises: as GroupAverager.average().
        """
        cdef bint alone = False, performed = False
        try:
            if self.lifecycle.state is not READY_STATE or is_finalized():
                self.check()
            alone = self.acquire(False)
            if alone:
                try:
                    performed = self.perform(sources, targets, outputs)
                finally:
                    self.release()
        except (StepMismatch, RankLeft) as error:
            if self.lifecycle.state is READY_STATE:
                self.lifecycle.happens(Event.BREAK, error)
            raise
        finally:
            # Not while another thread performs a step: the lent slots then belong to that step.
            if self.buffers.used and not self.busy.locked():
                self.buffers.settle()
        if not alone:
            self.refuse()
        return performed

    cpdef await_rest(self, bint begins_step=True):
        """Wait for the rest of the last group step, where that goes on behind the program's back.

        For the thread that alone uses the averager.

        Args:
            begins_step: this rank comes to its next step.

        Raises: as GroupAverager.average() does of a step.
        """
        if not self.protocol.rest_under_way:
            return
        try:
            self.protocol.await_rest(self.look, self.end, begins_step)
        except BaseException as error:
            self.protocol.abandon_call()
            if self.lifecycle.state is READY_STATE and (
                    self.protocol.rest_failed or isinstance(error, (StepMismatch, RankLeft))):
                self.lifecycle.happens(Event.BREAK, error)
            raise

    cdef int perform(self, sources, list targets, list outputs) except -1:
        """Perform the next group step in this thread, which alone uses the averager; return whether it was performed."""
        cdef uint64_t step = self.protocol.last_step + 1
        self.floats.enter()
        try:
            # At a LOCAL step nothing is added, so nothing is waited for.
            if self.protocol.rest_under_way and (step % self.group_period == 0 or self.protocol.rest_is_done()):
                self.await_rest()
            if step >= STEPS:
                check_countable("average", step)
            self.expect()
            self.pointers.hold(sources, targets)
            try:
                return self.protocol.step(step, self.pointers)
            except BaseException as error:
                if self.protocol.last_step != step:
                    # The step was begun, and can't be completed.
                    self.lifecycle.happens(Event.BREAK, error)
                raise
            finally:
                if outputs is not targets and self.protocol.last_step == step:
                    deliver(outputs, targets)
        finally:
            self.pointers.release()
            self.floats.leave()
