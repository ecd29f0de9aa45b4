"""The caller's arrays, as the protocol sees them: a pointer a leaf. The only module that knows numpy's C API."""

from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free
cimport numpy as cnp

cnp.import_array()


def is_plain(cnp.ndarray array):
    """Say whether an array is one C-contiguous, aligned run of memory."""
    return bool(cnp.PyArray_IS_C_CONTIGUOUS(array) and cnp.PyArray_ISALIGNED(array))


def is_like(array, cnp.ndarray example):
    """Say whether something is a numpy array, plain and writable, of the shape and dtype of an example if there is one."""
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
    if cnp.PyArray_Check(leaf):
        return cnp.PyArray_BYTES(leaf)
    return NULL if callable(leaf) else <char*> <uintptr_t> leaf


cdef class Pieces:
    """Pointers to the leaves of a model and of its output, in the order of a layout.

    Args:
        order: which leaf of the model comes i-th in the layout.

    Local. The arrays are kept alive from hold() to release().
    """

    def __cinit__(self, list order):
        self.count = len(order)
        self.sources = <const char**> calloc(max(1, self.count), sizeof(char*))
        self.targets = <char**> calloc(max(1, self.count), sizeof(char*))
        self.held = []
        if self.sources is NULL or self.targets is NULL:
            raise MemoryError("Pieces: no memory for the table of leaves")

    def __dealloc__(self):
        free(self.sources)
        free(self.targets)

    def hold(self, list order, list sources, list targets):
        """Point at memory, either in the model's order: `sources` are read, `targets` are written.

        They are plain arrays, or the addresses of memory that somebody else keeps; a source may be a function
        that returns a plain array, and is called when that is needed.
        """
        cdef int i
        for i in range(self.count):
            self.sources[i] = memory(sources[order[i]])
            self.targets[i] = memory(targets[order[i]])
        self.order = order
        self.held = [sources, targets]

    cdef int fetch(self, int i) except -1:
        """Have the memory of the i-th leaf of the layout, whose source is a function."""
        source = self.held[0][self.order[i]]()
        self.held.append(source)
        self.sources[i] = memory(source)
        return 0

    def release(self):
        """Let go of the arrays."""
        self.held = []
