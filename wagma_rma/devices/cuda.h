/* The calls of NVIDIA's driver library that copies need, found in it at run time.
 *
 * Types and numbers are those of cuda.h, whose ABI NVIDIA keeps: a name with _v2 stands for the newest form of a call.
 */
#ifndef WAGMA_CUDA_H
#define WAGMA_CUDA_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

enum { CUDA_NOT_READY = 600 };      /* CUDA_ERROR_NOT_READY: an event has not happened yet */
enum { CUDA_POINTER_DEVICE = 9 };   /* CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL */
enum { CUDA_PORTABLE = 1 };         /* CU_MEMHOSTREGISTER_PORTABLE: for all contexts */
enum { CUDA_WITHOUT_TIMING = 2 };   /* CU_EVENT_DISABLE_TIMING */

typedef uint64_t cuda_pointer;

struct wagma_cuda {
    int (*init)(unsigned flags);
    int (*device_get)(int *device, int ordinal);
    int (*context_retain)(void **context, int device);
    int (*context_release)(int device);
    int (*pointer_attribute)(void *value, int attribute, cuda_pointer pointer);
    int (*push_context)(void *context);
    int (*pop_context)(void **context);
    int (*host_register)(void *memory, size_t nbytes, unsigned flags);
    int (*host_unregister)(void *memory);
    int (*copy_down)(void *to, cuda_pointer from, size_t nbytes, void *stream);
    int (*copy_up)(cuda_pointer to, const void *from, size_t nbytes, void *stream);
    int (*copy_across)(cuda_pointer to, cuda_pointer from, size_t nbytes, void *stream);
    int (*event_create)(void **event, unsigned flags);
    int (*event_record)(void *event, void *stream);
    int (*event_query)(void *event);
    int (*event_destroy)(void *event);
    int (*error_name)(int error, const char **name);
    int (*error_string)(int error, const char **text);
};

/* In the order of the struct. */
static const char *const cuda_names[] = {
    "cuInit",
    "cuDeviceGet",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuPointerGetAttribute",
    "cuCtxPushCurrent_v2",
    "cuCtxPopCurrent_v2",
    "cuMemHostRegister_v2",
    "cuMemHostUnregister",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventQuery",
    "cuEventDestroy_v2",
    "cuGetErrorName",
    "cuGetErrorString",
};

/* Find all calls in a library, which stays open for good. Returns what is missing, or NULL. */
static inline const char *cuda_open(const char *library, struct wagma_cuda *cuda) {
    void **calls = (void **)cuda;
    void *opened = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!opened) return dlerror();
    for (size_t i = 0; i < sizeof cuda_names / sizeof *cuda_names; i++) {
        calls[i] = dlsym(opened, cuda_names[i]);
        if (!calls[i]) return cuda_names[i];
    }
    return NULL;
}

#endif
