"""A group step as one call that nothing cuts in two.

Python runs signal handlers between its own instructions, and there are none in here: Ctrl-C comes through where a
rank waits, which knows what is still to be done (Window.look), or when all is done.
"""

from libc.stdint cimport uint64_t
from wagma_rma.kernels.floats cimport DefaultFloats
from wagma_rma.model.leaf_pointers cimport LeafPointers
from wagma_rma.protocol.protocol cimport Protocol


def deliver(list outputs, list targets):
    """Fill those leaves of an output that aren't plain memory themselves; there may be none, only memory."""
    if outputs is targets:
        return
    for output, target in zip(outputs, targets):
        if output is not target:
            output[...] = target


cdef class Stepper:
    """Does the group steps of one averager.

    Args:
        order: which leaf of the model comes i-th in the layout.
        busy: a lock that whoever uses the averager holds.
        expect: called before a step, by whoever does it.
    """

    cdef Protocol protocol
    cdef LeafPointers pointers
    cdef list order
    cdef DefaultFloats floats
    cdef object acquire, release  # of `busy`
    cdef object expect
    cdef readonly bint halfway  # a step was left in the middle, so none can follow

    def __cinit__(self, Protocol protocol, LeafPointers pointers, list order, DefaultFloats floats, busy, expect):
        self.protocol = protocol
        self.pointers = pointers
        self.order = order
        self.floats = floats
        self.acquire, self.release = busy.acquire, busy.release
        self.expect = expect

    def step(self, list sources, list targets, list outputs):
        """Do the next group step, and return whether this thread was the only one to use the averager.

        Args:
            sources, targets: as LeafPointers.hold(), of the leaves of the model and of the average.
            outputs: the leaves that get the average; those that are not their targets are filled from them.
        """
        cdef uint64_t step
        if not self.acquire(False):
            return False
        step = self.protocol.last_step + 1
        self.floats.enter()
        try:
            self.expect()
            self.pointers.hold(self.order, sources, targets)
            try:
                self.protocol.step(step, self.pointers)
            finally:
                if self.protocol.last_step != step:
                    self.halfway = True
                elif outputs is not targets:
                    deliver(outputs, targets)
        finally:
            self.pointers.release()
            self.floats.leave()
            self.release()
        return True
