"""A group step as one call that nothing interrupts.

Python runs signal handlers between its own instructions, and there are none in a step: Ctrl-C comes through where a
rank waits, in code that knows what is still to be done (Waiter.look), or when the step is over.
"""

from libc.stdint cimport uint64_t
from wagma_rma.kernels.floats cimport DefaultFloats
from wagma_rma.model.leaf_pointers cimport LeafPointers
from wagma_rma.protocol.protocol cimport Protocol

from wagma_rma.protocol.words import STEP_LIMIT

cdef uint64_t STEPS = STEP_LIMIT


def deliver(list outputs, list targets):
    """Copy the targets into the outputs that are not their own targets. Both lists may be addresses: nothing to do."""
    if outputs is targets:
        return
    for output, target in zip(outputs, targets):
        if output is not target:
            output[...] = target


def check_countable(name, uint64_t step):
    """Raise RuntimeError if a step is more than the words can count."""
    if step >= STEPS:
        raise RuntimeError(f"{name}: step {STEPS - 1} is the last that a run can count; start a new run")


cdef class Stepper:
    """Performs the group steps of one averager.

    Args:
        busy: a lock, held by any thread that uses the averager.
        expect: called before a step.
        left_in_the_middle: called with the error of a step that was begun and can't be completed.
    """

    cdef Protocol protocol
    cdef LeafPointers pointers
    cdef DefaultFloats floats
    cdef object acquire, release  # of `busy`
    cdef object expect, left_in_the_middle

    def __cinit__(self, Protocol protocol, LeafPointers pointers, DefaultFloats floats, busy, expect,
                  left_in_the_middle):
        self.protocol = protocol
        self.pointers = pointers
        self.floats = floats
        self.acquire, self.release = busy.acquire, busy.release
        self.expect = expect
        self.left_in_the_middle = left_in_the_middle

    def step(self, list sources, list targets, list outputs):
        """Perform the next group step; return whether this thread was the only one to use the averager.

        Args:
            sources, targets: as LeafPointers.hold(), of the leaves of the model and of the average.
            outputs: the leaves that get the average; a leaf that is not its own target is copied from that.
        """
        cdef uint64_t step
        if not self.acquire(False):
            return False
        step = self.protocol.last_step + 1
        self.floats.enter()
        try:
            if step >= STEPS:
                check_countable("average", step)
            self.expect()
            self.pointers.hold(sources, targets)
            try:
                self.protocol.step(step, self.pointers)
            except BaseException as error:
                if self.protocol.last_step != step:
                    self.left_in_the_middle(error)
                raise
            finally:
                if outputs is not targets and self.protocol.last_step == step:
                    deliver(outputs, targets)
        finally:
            self.pointers.release()
            self.floats.leave()
            self.release()
        return True
