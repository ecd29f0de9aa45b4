"""Steps of an averager as calls of a compiled program: XLA passes its buffers, and they are averaged in place.

XLA calls `execute` without the GIL, on a thread of its own or on the one that runs the program. The step itself is
the numpy averager's. It reads the memory of the operands and writes that of the results; nothing else is copied.
`pack` copies many small leaves into one buffer before a step, and `unpack` copies them out: see packs.py.

On a CUDA device XLA passes addresses on the device, and a stream: `execute_on_device` hands both on.
"""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy

from weakref import ref

cdef extern from "xla_call.h" nogil:
    enum:
        XLA_MAJOR
        XLA_MINOR
        XLA_METADATA
        XLA_EXECUTE
        XLA_INTERNAL
        XLA_F16
        XLA_F32
        XLA_F64
        XLA_BF16
    struct xla_extension:
        int type
    struct xla_version:
        int major_version, minor_version
    struct xla_metadata:
        xla_version version
    struct xla_metadata_extension:
        xla_metadata* metadata
    struct xla_error:
        pass
    struct xla_error_create:
        size_t size
        xla_extension* extensions
        const char* message
        int code
    struct xla_stream_get:
        size_t size
        xla_extension* extensions
        void* context
        void* stream
    struct xla_api:
        xla_error* (*error_create)(xla_error_create*)
        xla_error* (*stream_get)(xla_stream_get*) noexcept nogil
    struct xla_buffer:
        int type
        void* data
        int64_t rank
        int64_t* dims
    struct xla_buffers:
        int64_t count
        xla_buffer** buffers
    struct xla_scalar:
        void* value
    struct xla_attributes:
        void** values
    struct xla_call:
        xla_extension* extensions
        const xla_api* api
        void* context
        int stage
        xla_buffers operands, results
        xla_attributes attributes

# What compiled programs may call, by the number that is compiled into them. Numbers are counted from 1 in each run,
# so that a program that JAX has cached on disk finds the same step behind its number in the next run.
cdef dict steps = {}
cdef int64_t last = 0

GONE = "average: this averager is gone; keep it as long as compiled functions use it"


def register(method):
    """Return a number by which compiled programs call `method(sources, targets)`.

    JAX may keep a program for ever; a program does not keep the method's object alive.

    Args:
        method: a bound method. Its arguments are two lists, the addresses of the operands and of the results, without
            the first of each, which is the token that orders the calls of a program; and the handle of the stream, or
            None on a CPU.
    """
    global last
    last += 1
    number = last
    steps[number] = (ref(method.__self__, lambda _: steps.pop(number, None)), method.__func__)
    return number


def targets(platform):
    """Return what jax.ffi.register_ffi_target() takes for a platform, "cpu" or "CUDA", by name."""
    if platform == "CUDA":
        return {"wagma_rma_step": PyCapsule_New(<void*> execute_on_device, NULL, NULL)}
    return {
        "wagma_rma_step": PyCapsule_New(<void*> execute, NULL, NULL),
        "wagma_rma_pack": PyCapsule_New(<void*> pack, NULL, NULL),
        "wagma_rma_unpack": PyCapsule_New(<void*> unpack, NULL, NULL),
    }


cdef bint is_execution(xla_call* call) noexcept nogil:
    """Return whether a call is to do its work; answer it if it asks for the version."""
    if call.extensions is not NULL and call.extensions.type == XLA_METADATA:
        (<xla_metadata_extension*> call.extensions).metadata.version.major_version = XLA_MAJOR
        (<xla_metadata_extension*> call.extensions).metadata.version.minor_version = XLA_MINOR
        return False
    return call.stage == XLA_EXECUTE


cdef int64_t bytes_of(xla_buffer* buffer) noexcept nogil:
    """Return the bytes of a leaf, or -1 if its dtype is none that can be averaged."""
    cdef int64_t i, count = 1
    for i in range(buffer.rank):
        count *= buffer.dims[i]
    if buffer.type == XLA_F64:
        return count * 8
    if buffer.type == XLA_F32:
        return count * 4
    return count * 2 if buffer.type == XLA_F16 or buffer.type == XLA_BF16 else -1


cdef xla_error* pack(xla_call* call) noexcept nogil:
    cdef char* place
    cdef int64_t i, nbytes
    if is_execution(call):
        place = <char*> call.results.buffers[0].data
        for i in range(call.operands.count):
            nbytes = bytes_of(call.operands.buffers[i])
            if nbytes < 0:
                return unknown(call, call.operands.buffers[i].type)
            memcpy(place, call.operands.buffers[i].data, nbytes)
            place += room(nbytes)
    return NULL


cdef xla_error* unpack(xla_call* call) noexcept nogil:
    cdef char* place
    cdef int64_t i, nbytes
    if is_execution(call):
        place = <char*> call.operands.buffers[0].data
        for i in range(call.results.count):
            nbytes = bytes_of(call.results.buffers[i])
            if nbytes < 0:
                return unknown(call, call.results.buffers[i].type)
            memcpy(call.results.buffers[i].data, place, nbytes)
            place += room(nbytes)
    return NULL


cdef xla_error* unknown(xla_call* call, int dtype) noexcept nogil:
    with gil:
        return failed(call, TypeError(f"average: XLA's dtype {dtype} is unknown here; this is a defect of wagma_rma"))


cpdef int64_t room(int64_t nbytes) noexcept nogil:
    """Return how many bytes of a pack a leaf takes: so many that the next one begins with a cache line."""
    return (nbytes + 63) // 64 * 64


cdef xla_error* execute(xla_call* call) noexcept nogil:
    if not is_execution(call):
        return NULL
    with gil:
        return run(call, None)


cdef xla_error* execute_on_device(xla_call* call) noexcept nogil:
    cdef xla_stream_get get
    cdef xla_error* error
    if not is_execution(call):
        return NULL
    get.size = sizeof(get)
    get.extensions = NULL
    get.context = call.context
    error = call.api.stream_get(&get)
    if error is not NULL:
        return error
    with gil:
        return run(call, <uintptr_t> get.stream)


cdef xla_error* run(xla_call* call, stream) noexcept:
    cdef int64_t i, number = (<int64_t*> (<xla_scalar*> call.attributes.values[0]).value)[0]
    try:
        entry = steps.get(number)
        kept = entry[0]() if entry is not None else None
        if kept is None:
            raise RuntimeError(GONE)
        entry[1](
            kept,
            [<uintptr_t> call.operands.buffers[i].data for i in range(1, call.operands.count)],
            [<uintptr_t> call.results.buffers[i].data for i in range(1, call.results.count)],
            stream,
        )
        return NULL
    except BaseException as error:
        return failed(call, error)


cdef xla_error* failed(xla_call* call, error) noexcept:
    """Return the error that ends a program, with the type and the message of an exception."""
    cdef xla_error_create create
    message = f"{type(error).__name__}: {error}".encode()
    create.size = sizeof(create)
    create.extensions = NULL
    create.message = message
    create.code = XLA_INTERNAL
    return call.api.error_create(&create)
