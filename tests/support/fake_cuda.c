/* A driver library backed by this host's memory, for machines without a GPU.
 *
 * It has the entry points of NVIDIA's that devices/cuda.h opens. A device address is an address of this process, so a
 * "device" is any memory; a stream is a queue: its copies happen when an event behind them is looked at, or when the test
 * says so, each after a delay. So a copy that nobody has waited for has not happened, and host memory that is overwritten
 * too early shows in the result. A test may have the n-th call of a name fail.
 *
 * There are two devices; a range of memory that a test names lies on the second. fake_call stands before a handler of XLA's
 * calls on CPUs: it gives it a stream, and has all copies happen before XLA goes on, as the stream of a device would.
 */
#include "xla_call.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_CONTEXT = 201, ALREADY = 712, NOT_REGISTERED = 713, NOT_READY = 600, FAILED = 719 };
enum { MOST = 4096 };

struct copy {
    void *to;
    const void *from;
    size_t nbytes;
    double at; /* when it is done */
};

struct stream {
    void *handle;
    struct copy copies[MOST];
    size_t begun, done;
};

struct event {
    struct stream *stream;
    size_t after; /* copies of its stream */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct stream streams[16];
static __thread void *contexts[16];
static __thread int depth;
static void *registered[64];
static int devices[2]; /* their addresses are the contexts */
static int retained;
static uintptr_t second, second_end;
static struct xla_error *(*handler)(struct xla_call *);
static int no_stream;
static double delay;
static char failing[64];
static int fails_after = -1;
static long calls;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What tests say and ask. */

void fake_reset(double seconds) {
    pthread_mutex_lock(&lock);
    memset(streams, 0, sizeof streams);
    memset(registered, 0, sizeof registered);
    delay = seconds;
    failing[0] = 0;
    fails_after = -1;
    calls = 0;
    retained = 0;
    second = second_end = 0;
    pthread_mutex_unlock(&lock);
}

void fake_fail(const char *name, int after) {
    strncpy(failing, name, sizeof failing - 1);
    fails_after = after;
}

int fake_registered(void) {
    int i, count = 0;
    for (i = 0; i < 64; i++) count += registered[i] != NULL;
    return count;
}

int fake_depth(void) {
    return depth;
}

long fake_calls(void) {
    return calls;
}

/* How many contexts are retained. */
int fake_retained(void) {
    return retained;
}

/* Have memory lie on the second device. */
void fake_place(uintptr_t begin, size_t nbytes) {
    second = begin;
    second_end = begin + nbytes;
}

static int fails(const char *name) {
    calls++;
    return strcmp(name, failing) == 0 && fails_after-- == 0;
}

static struct stream *stream_of(void *handle) {
    int i;
    for (i = 0; i < 15; i++) {
        if (streams[i].handle == handle && streams[i].begun) return &streams[i];
        if (!streams[i].begun) break;
    }
    streams[i].handle = handle;
    return &streams[i];
}

static void perform(struct stream *stream, size_t until, int whatever_the_time) {
    while (stream->done < until && stream->done < stream->begun) {
        struct copy *copy = &stream->copies[stream->done % MOST];
        if (!whatever_the_time && now() < copy->at) return;
        memcpy(copy->to, copy->from, copy->nbytes);
        stream->done++;
    }
}

/* Have all copies happen: what a later operation of the stream would find. */
void fake_synchronize(void) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < 16; i++) perform(&streams[i], streams[i].begun, 1);
    pthread_mutex_unlock(&lock);
}

static void begin(void *handle, struct copy copy) {
    struct stream *stream;
    pthread_mutex_lock(&lock);
    stream = stream_of(handle);
    if (stream->begun - stream->done == MOST) perform(stream, stream->done + 1, 1);
    stream->copies[stream->begun % MOST] = copy;
    stream->begun++;
    pthread_mutex_unlock(&lock);
}

/* Have the device compute for some seconds. */
void fake_work(size_t handle, double seconds) {
    static char unused;
    begin((void *)handle, (struct copy){&unused, &unused, 0, now() + seconds});
}

static int copies(const char *name, void *to, const void *from, size_t nbytes, void *handle) {
    if (fails(name)) return FAILED;
    if (!depth) return INVALID_CONTEXT;
    begin(handle, (struct copy){to, from, nbytes, now() + delay});
    return 0;
}

/* XLA's calls. */

void fake_handler(void *called, int without_stream) {
    handler = (struct xla_error * (*)(struct xla_call *)) called;
    no_stream = without_stream;
}

static const struct xla_api *real;

static struct xla_error *stream_get(struct xla_stream_get *get) {
    struct xla_error_create create = {sizeof create, NULL, "there is no stream", XLA_INTERNAL};
    if (no_stream) return real->error_create(&create);
    get->stream = (void *)&streams;
    return NULL;
}

struct xla_error *fake_call(struct xla_call *call) {
    struct xla_call with = *call;
    struct xla_api api = *call->api;
    struct xla_error *error;
    real = call->api;
    api.stream_get = stream_get;
    with.api = &api;
    error = handler(&with);
    fake_synchronize();
    return error;
}

/* The driver's. */

int cuInit(unsigned flags) {
    return fails("cuInit") || flags ? NO_DEVICE : 0;
}

int cuDeviceGet(int *device, int ordinal) {
    if (fails("cuDeviceGet") || ordinal < 0 || ordinal > 1) return FAILED;
    *device = ordinal;
    return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
    if (fails("cuDevicePrimaryCtxRetain")) return OUT_OF_MEMORY;
    *context = &devices[device];
    retained++;
    return 0;
}

int cuDevicePrimaryCtxRelease_v2(int device) {
    (void)device;
    retained--;
    return fails("cuDevicePrimaryCtxRelease") ? FAILED : 0;
}

int cuPointerGetAttribute(void *value, int attribute, uint64_t pointer) {
    if (fails("cuPointerGetAttribute") || attribute != 9 || !pointer) return FAILED;
    *(int *)value = second <= pointer && pointer < second_end;
    return 0;
}

int cuCtxPushCurrent_v2(void *pushed) {
    if (fails("cuCtxPushCurrent") || (pushed != &devices[0] && pushed != &devices[1]) || depth == 16)
        return INVALID_CONTEXT;
    contexts[depth++] = pushed;
    return 0;
}

int cuCtxPopCurrent_v2(void **popped) {
    if (!depth) return INVALID_CONTEXT;
    *popped = contexts[--depth];
    return 0;
}

int cuMemHostRegister_v2(void *memory, size_t nbytes, unsigned flags) {
    int i, room = -1;
    (void)nbytes;
    if (fails("cuMemHostRegister")) return OUT_OF_MEMORY;
    if (!depth || flags != 1) return INVALID_CONTEXT;
    for (i = 63; i >= 0; i--) {
        if (registered[i] == memory) return ALREADY;
        if (!registered[i]) room = i;
    }
    registered[room] = memory;
    return 0;
}

int cuMemHostUnregister(void *memory) {
    int i;
    if (fails("cuMemHostUnregister")) return FAILED;
    for (i = 0; i < 64; i++) {
        if (registered[i] == memory) {
            registered[i] = NULL;
            return 0;
        }
    }
    return NOT_REGISTERED;
}

int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t nbytes, void *stream) {
    return copies("cuMemcpyDtoHAsync", to, (const void *)(uintptr_t)from, nbytes, stream);
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t nbytes, void *stream) {
    return copies("cuMemcpyHtoDAsync", (void *)(uintptr_t)to, from, nbytes, stream);
}

int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t nbytes, void *stream) {
    return copies("cuMemcpyDtoDAsync", (void *)(uintptr_t)to, (const void *)(uintptr_t)from, nbytes, stream);
}

int cuEventCreate(void **event, unsigned flags) {
    if (fails("cuEventCreate") || !depth || flags != 2) return FAILED;
    *event = calloc(1, sizeof(struct event));
    return *event ? 0 : OUT_OF_MEMORY;
}

int cuEventRecord(void *recorded, void *handle) {
    struct event *event = recorded;
    if (fails("cuEventRecord")) return FAILED;
    pthread_mutex_lock(&lock);
    event->stream = stream_of(handle);
    event->after = event->stream->begun;
    pthread_mutex_unlock(&lock);
    return 0;
}

int cuEventQuery(void *asked) {
    struct event *event = asked;
    int ready;
    if (fails("cuEventQuery")) return FAILED;
    pthread_mutex_lock(&lock);
    perform(event->stream, event->after, 0);
    ready = event->stream->done >= event->after;
    pthread_mutex_unlock(&lock);
    return ready ? 0 : NOT_READY;
}

int cuEventDestroy_v2(void *event) {
    free(event);
    return 0;
}

int cuGetErrorName(int error, const char **name) {
    *name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
            : error == NO_DEVICE   ? "CUDA_ERROR_NO_DEVICE"
            : error == FAILED      ? "CUDA_ERROR_LAUNCH_FAILED"
                                   : NULL;
    return *name ? 0 : 1;
}

int cuGetErrorString(int error, const char **text) {
    *text = error == OUT_OF_MEMORY ? "out of memory" : error == FAILED ? "unspecified launch failure" : NULL;
    return *text ? 0 : 1;
}
