"""Pointers to the leaves of the caller's model, as the protocol sees it.

Only this module and stepping use numpy's C API.
"""

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free
cimport numpy as cnp

from bisect import bisect_left

cnp.import_array()


def is_plain(cnp.ndarray array):
    """Return whether an array is one C-contiguous, aligned run of memory."""
    return bool(cnp.PyArray_IS_C_CONTIGUOUS(array) and cnp.PyArray_ISALIGNED(array))


cpdef bint is_like(object array, cnp.ndarray example) except -1:
    """Return whether an object is a plain, writable numpy array of the shape and dtype of an example (None: no)."""
    cdef cnp.ndarray found
    cdef int i
    if example is None or not cnp.PyArray_CheckExact(array):
        return False
    found = array
    if (cnp.PyArray_NDIM(found) != cnp.PyArray_NDIM(example) or not cnp.PyArray_ISCARRAY(found)
            or not cnp.PyArray_EquivArrTypes(found, example)):
        return False
    for i in range(cnp.PyArray_NDIM(example)):
        if cnp.PyArray_DIM(found, i) != cnp.PyArray_DIM(example, i):
            return False
    return True


cdef char* memory(object leaf) except? NULL:
    """Return where a leaf lies: an array, or an address; NULL for a function that returns an array."""
    if cnp.PyArray_Check(leaf):
        return cnp.PyArray_BYTES(leaf)
    return NULL if callable(leaf) else <char*> <uintptr_t> leaf


def any_begins_in(list leaves, uintptr_t begin, int64_t nbytes):
    """Return whether any of some leaves begins in a range of memory."""
    for leaf in leaves:
        if begin <= <uintptr_t> memory(leaf) < begin + <uintptr_t> nbytes:
            return True
    return False


def begin_alike(list leaves, list others):
    """Return whether leaves are plain and begin where others do, one by one; leaves without elements don't count."""
    for leaf, other in zip(leaves, others):
        if cnp.PyArray_SIZE(leaf) and (memory(leaf) != memory(other) or not is_plain(leaf)):
            return False
    return True


cdef bint are_entangled(list sources, list targets):
    """Return whether writing to one target may change the source of another leaf; only arrays are compared."""
    cdef char* begin
    cdef int i
    spans = [(<uintptr_t> memory(leaf), <uintptr_t> memory(leaf) + cnp.PyArray_NBYTES(leaf), i)
             for i, leaf in enumerate(sources) if cnp.PyArray_Check(leaf) and cnp.PyArray_SIZE(leaf)]
    spans.sort()
    for (_, end, _), (next_begin, _, _) in zip(spans, spans[1:]):
        if end > next_begin:
            return True
    for i, leaf in enumerate(targets):
        if not cnp.PyArray_Check(leaf) or not cnp.PyArray_SIZE(leaf):
            continue
        begin = memory(leaf)
        # Sources do not overlap each other, so only the last one that begins before the target ends can overlap it
        # without beginning in it.
        last = bisect_left(spans, (<uintptr_t> begin + cnp.PyArray_NBYTES(leaf),)) - 1
        if last >= 0 and spans[last][1] > <uintptr_t> begin and spans[last][::2] != (<uintptr_t> begin, i):
            return True
    return False


def no_source():
    """Stand for a leaf that is not in this host's memory."""
    raise RuntimeError("LeafPointers: a leaf on a device was not copied; this is a defect of wagma_rma")


cdef class LeafPointers:
    """Pointers to the leaves of a model and of its output, in the order of a layout.

    Args:
        order: order[i] is the leaf of the model that comes i-th in the layout.

    Local. The arrays are kept alive from hold() to release().
    """

    def __cinit__(self, list order):
        self.order = order
        self.count = len(order)
        self.sources = <const char**> calloc(max(1, self.count), sizeof(char*))
        self.targets = <char**> calloc(max(1, self.count), sizeof(char*))
        self.held = []
        if self.sources is NULL or self.targets is NULL:
            raise MemoryError("LeafPointers: no memory for the table of leaves")

    def __dealloc__(self):
        free(self.sources)
        free(self.targets)

    def hold(self, sources, list targets):
        """Point at memory, given in the model's order: `sources` are read, `targets` are written.

        Args:
            sources, targets: plain arrays, or the addresses of memory that the caller keeps. A source may be a function
                that returns a plain array; it is called when the array is needed. Where all leaves lie on a device
                `sources` are DeviceLeaves, whose copies begin a step here, and `targets` addresses of this host, of as many bytes as
                each leaf has, that the step may use to make what it copies to the device.
        """
        cdef int i
        cdef char* source
        cdef char* target
        cdef bint moved = False
        cdef DeviceLeaves leaves = None if type(sources) is list else <DeviceLeaves?> sources
        self.moved = leaves is not None and leaves.moved
        if leaves is not None:
            leaves.copies.begin(leaves)
            self.copies = leaves.copies
            sources = [no_source] * self.count
        for i in range(self.count):
            source, target = memory(sources[self.order[i]]), memory(targets[self.order[i]])
            moved |= source != self.sources[i] or target != self.targets[i]
            self.sources[i], self.targets[i] = source, target
        self.held = [sources, targets]
        if moved:
            self.entangled = are_entangled(sources, targets)

    cdef int fetch(self, int i) except -1:
        """Call the function that is the source of the layout's i-th leaf, and point at the array that it returns."""
        source = self.held[0][self.order[i]]()
        self.held.append(source)
        self.sources[i] = memory(source)
        return 0

    def release(self):
        """Drop the references to the arrays, and end what hold() has begun."""
        cdef Copies copies = self.copies
        self.held = []
        self.copies = None
        if copies is not None:
            copies.end()
