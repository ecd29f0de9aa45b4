"""Copies between CUDA devices and this host, by NVIDIA's driver library.

The library is opened at run time. All copies of a step are put into the stream of its caller, in order: they come after
what the stream has to do before, and what comes after them in the stream finds them done. So a step waits for copies to
this host alone; copies to the device go on when it has returned, and read this host's memory until the next step begins.

Memory of this host is registered with the driver, so that copies run at full speed and need no other memory on the way.
"""

from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from wagma_rma.kernels.clock cimport wagma_now, wagma_relax, wagma_sleep

cdef extern from "wagma_rma/devices/cuda.h" nogil:
    enum:
        CUDA_NOT_READY
        CUDA_POINTER_DEVICE
        CUDA_PORTABLE
        CUDA_WITHOUT_TIMING
    const char* cuda_open(const char* library, wagma_cuda* cuda)

LIBRARY = "libcuda.so.1"

cdef double SPIN = 20e-6  # seconds: of a wait for the device, without a sleep
cdef double NAP = 50e-6

cdef char[2] FLAGS
FLAGS[0], FLAGS[1] = 0, 1


class CudaError(RuntimeError):
    """A call of the driver has failed; the message names the call and the driver's own error."""


cdef class Driver:
    """The driver's library.

    Args:
        where: what errors begin with.

    Raises:
        CudaError: it can't be opened, lacks a call, or finds no device.
    """

    def __init__(self, library=LIBRARY, str where=""):
        cdef const char* missing
        self.library, self.where = library, where
        name = library.encode()
        missing = cuda_open(name, &self.calls)
        if missing is not NULL:
            raise CudaError(f"{where}{library} can't be used: {missing.decode()}")
        self.check(self.calls.init(0), b"cuInit")

    cdef int check(self, int error, const char* call) except -1 nogil:
        """Raise CudaError if a call has returned an error."""
        cdef const char* name = NULL
        cdef const char* text = NULL
        if error == 0:
            return 0
        self.calls.error_name(error, &name)
        self.calls.error_string(error, &text)
        with gil:
            known = name.decode() if name is not NULL else f"error {error}"
            said = f" ({text.decode()})" if text is not NULL else ""
            raise CudaError(f"{self.where}{call.decode()} failed: {known}{said}")


cdef class CudaCopies(Copies):
    """The copies of an averager's steps, one step at a time.

    Args:
        driver: the library.
        order: order[i] is the leaf of the model that comes i-th in the layout.
        memory: what is copied to and from, on this host: (address, bytes) of each piece. It is registered with the
            driver from the first step until close().
        room: addresses in it, one for each leaf of the model: where a step makes what it copies to the device.
        held: what is kept alive for that.
    """

    def __cinit__(self, Driver driver, list order, list memory, list room, object held=None):
        self.driver = driver
        self.calls = &driver.calls
        self.order = order
        self.memory = memory
        self.room = room
        self.held = held
        self.count = len(order)
        self.sources = <uint64_t*> calloc(max(1, self.count), sizeof(uint64_t))
        self.targets = <uint64_t*> calloc(max(1, self.count), sizeof(uint64_t))
        self.registered = []
        if self.sources is NULL or self.targets is NULL:
            raise MemoryError("CudaCopies: no memory for the table of leaves")

    def __dealloc__(self):
        free(self.sources)
        free(self.targets)

    def fetch(self, DeviceLeaves leaves, list places, list sizes):
        """Copy sources to places on this host, in the model's order; they are there when this returns.

        Args:
            places: addresses.
            sizes: bytes.
        """
        cdef int i
        self.begin(leaves)
        try:
            for i in range(self.count):
                self.begin_down(i, <char*> <uintptr_t> places[self.order[i]], sizes[self.order[i]])
            self.complete_down()
        finally:
            self.end()

    def wait(self, DeviceLeaves leaves):
        """Wait for what was put into the stream of some leaves before."""
        self.begin(leaves)
        try:
            self.complete_down()
        finally:
            self.end()

    cdef int begin(self, DeviceLeaves leaves) except -1:
        cdef int i
        for i in range(self.count):
            self.sources[i] = leaves.sources[self.order[i]]
            self.targets[i] = leaves.targets[self.order[i]]
        self.flag = leaves.flag
        self.find_device()
        self.enter()
        try:
            if self.down is NULL:
                self.driver.check(self.calls.event_create(&self.down, CUDA_WITHOUT_TIMING), b"cuEventCreate")
            if self.up is NULL:
                self.driver.check(self.calls.event_create(&self.up, CUDA_WITHOUT_TIMING), b"cuEventCreate")
            self.settle()
            self.register()
        except BaseException:
            self.leave()
            raise
        self.stream = <void*> <uintptr_t> leaves.stream
        self.in_step = True
        return 0

    cdef int end(self) except -1:
        cdef int error
        if not self.in_step:
            return 0
        self.in_step = False
        error = self.calls.event_record(self.up, self.stream)
        self.going_up = error == 0
        self.leave()
        return self.driver.check(error, b"cuEventRecord")

    def close(self):
        """Wait for copies that read this host's memory, and have the driver forget the memory."""
        if self.context is not NULL:
            self.leave_device()

    cdef int find_device(self) except -1:
        """Find the device that holds the leaves, and retain its context."""
        cdef int i, ordinal = 0, found = -1, device = 0
        cdef uint64_t address
        for i in range(2 * self.count + 1):
            address = (self.sources[i] if i < self.count else self.targets[i - self.count] if i < 2 * self.count
                       else self.flag)
            if address:
                self.driver.check(self.calls.pointer_attribute(&ordinal, CUDA_POINTER_DEVICE, address),
                                  b"cuPointerGetAttribute")
                if found >= 0 and ordinal != found:
                    raise CudaError(f"{self.driver.where}leaves lie on CUDA devices {found} and {ordinal}; "
                                    "a rank averages a model on one")
                found = ordinal
        if found >= 0:
            self.driver.check(self.calls.device_get(&device, found), b"cuDeviceGet")
            if self.context is not NULL and device != self.device:
                self.leave_device()
            if self.context is NULL:
                self.driver.check(self.calls.context_retain(&self.context, device), b"cuDevicePrimaryCtxRetain")
                self.device = device
        elif self.context is NULL:
            raise CudaError(f"{self.driver.where}no leaf has an address on a CUDA device")
        return 0

    cdef int leave_device(self) except -1:
        """Forget what belongs to the context, this host's memory too, and release it."""
        cdef uintptr_t address
        self.enter()
        try:
            self.settle()
            while self.registered:
                address = self.registered[len(self.registered) - 1]
                self.driver.check(self.calls.host_unregister(<void*> address), b"cuMemHostUnregister")
                self.registered.pop()
            if self.down is not NULL:
                self.calls.event_destroy(self.down)
            if self.up is not NULL:
                self.calls.event_destroy(self.up)
        finally:
            self.leave()
        self.down = self.up = self.context = NULL
        return self.driver.check(self.calls.context_release(self.device), b"cuDevicePrimaryCtxRelease")

    cdef int enter(self) except -1:
        """Make the context this thread's current one."""
        return self.driver.check(self.calls.push_context(self.context), b"cuCtxPushCurrent")

    cdef void leave(self) noexcept:
        """Make the context that was this thread's before its current one again."""
        cdef void* ignored = NULL
        self.calls.pop_context(&ignored)

    cdef int settle(self) except -1:
        """Wait for the copies to the device that the last step has begun."""
        if self.going_up:
            with nogil:
                self.wait_for(self.up)
            self.going_up = False
        return 0

    cdef int register(self) except -1:
        """Register what is not registered yet."""
        cdef uintptr_t address
        cdef size_t nbytes
        while len(self.registered) < len(self.memory):
            address, nbytes = self.memory[len(self.registered)]
            self.driver.check(self.calls.host_register(<void*> address, nbytes, CUDA_PORTABLE), b"cuMemHostRegister")
            self.registered.append(address)
        return 0

    cdef int wait_for(self, void* event) except -1 nogil:
        """Wait until all that was put into the stream before an event is done.

        Nothing ends this wait early, as in any program that waits for a device. It is for what a device computes, so a
        sleep is as short as the system can make it.
        """
        cdef double began = wagma_now()
        cdef int error = self.calls.event_query(event)
        while error == CUDA_NOT_READY:
            if wagma_now() - began < SPIN:
                wagma_relax()
            else:
                wagma_sleep(NAP)
            error = self.calls.event_query(event)
        return self.driver.check(error, b"cuEventQuery")

    cdef int begin_down(self, int i, char* place, int64_t nbytes) except -1 nogil:
        if nbytes:
            self.driver.check(self.calls.copy_down(place, self.sources[i], nbytes, self.stream), b"cuMemcpyDtoHAsync")
        return 0

    cdef int complete_down(self) except -1 nogil:
        self.driver.check(self.calls.event_record(self.down, self.stream), b"cuEventRecord")
        return self.wait_for(self.down)

    cdef int begin_up(self, int i, int64_t offset, const char* place, int64_t nbytes) except -1 nogil:
        if nbytes:
            self.driver.check(self.calls.copy_up(self.targets[i] + offset, place, nbytes, self.stream),
                              b"cuMemcpyHtoDAsync")
        return 0

    cdef int begin_flag(self, bint value) except -1 nogil:
        return self.driver.check(self.calls.copy_up(self.flag, &FLAGS[value], 1, self.stream), b"cuMemcpyHtoDAsync")

    cdef int pass_on(self, int i, int64_t nbytes) except -1 nogil:
        if nbytes and self.sources[i] != self.targets[i]:
            self.driver.check(self.calls.copy_across(self.targets[i], self.sources[i], nbytes, self.stream),
                              b"cuMemcpyDtoDAsync")
        return 0
