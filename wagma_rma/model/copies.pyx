"""Copies of leaves that lie on a device, and not in this host's memory."""


cdef class DeviceLeaves:
    """Where the leaves of a step lie, and those of its output: in the memory of one device.

    Args:
        copies: which copy them.
        stream: the handle of the stream that the copies go into, after what is in it.
        sources, targets: addresses on the device, in the model's order; a leaf without elements may have any.
        flag: the address of a byte there, for begin_flag().
        moved: the device has added the difference that it was given (Snapshots.give_difference).
    """

    def __init__(self, Copies copies, uint64_t stream, list sources, list targets, uint64_t flag=0, bint moved=False):
        self.copies, self.stream, self.flag, self.moved = copies, stream, flag, moved
        self.sources, self.targets = sources, targets


cdef class Copies:
    """The copies of one step. An abstract class; leaves are numbered as in a layout.

    All happen in the order in which they begin. What is read or written meanwhile stays as it is.
    """

    cdef int begin(self, DeviceLeaves leaves) except -1:
        """Begin a step on some leaves."""
        raise NotImplementedError

    cdef int end(self) except -1:
        """End the step, if one has begun; copies to the device may go on."""
        raise NotImplementedError

    cdef int begin_down(self, int i, char* place, int64_t nbytes) except -1 nogil:
        """Begin to copy the source of a leaf to a place in this host's memory."""
        with gil:
            raise NotImplementedError

    cdef int complete_down(self) except -1 nogil:
        """Wait for all copies to this host that have begun."""
        with gil:
            raise NotImplementedError

    cdef int begin_up(self, int i, int64_t offset, const char* place, int64_t nbytes) except -1 nogil:
        """Begin to copy a part of a leaf, from a place in this host's memory, to its target."""
        with gil:
            raise NotImplementedError

    cdef int begin_flag(self, bint value) except -1 nogil:
        """Begin to copy a byte, 0 or 1, to where the step's flag lies."""
        with gil:
            raise NotImplementedError

    cdef int pass_on(self, int i, int64_t nbytes) except -1 nogil:
        """Begin to copy the source of a leaf to its target, unless they are the same."""
        with gil:
            raise NotImplementedError
