/* The part of XLA's FFI that xla_call.pyx needs, transcribed, so that a build needs no JAX.
 *
 * XLA promises to keep this layout within a major version of the API. Each struct begins with its size and a list of
 * extensions. A test compares these structs with jaxlib's own xla/ffi/api/c_api.h, field by field.
 */
#ifndef WAGMA_XLA_CALL_H
#define WAGMA_XLA_CALL_H

#include <stddef.h>
#include <stdint.h>

enum { XLA_MAJOR = 0, XLA_MINOR = 1 }; /* of the API: the oldest version that has all of this */
enum { XLA_METADATA = 1 };             /* the extension by which XLA asks for the version */
enum { XLA_EXECUTE = 3 };              /* the stage at which a call is a step */
enum { XLA_INTERNAL = 13 };            /* the code of an error that JAX raises as JaxRuntimeError */

/* The types of leaves. */
enum { XLA_F16 = 10, XLA_F32 = 11, XLA_F64 = 12, XLA_BF16 = 16 };

struct xla_extension {
    size_t size;
    int type;
    struct xla_extension *next;
};

struct xla_version {
    size_t size;
    struct xla_extension *extensions;
    int major_version, minor_version;
};

struct xla_metadata {
    size_t size;
    struct xla_version version;
    uint32_t traits;
};

struct xla_metadata_extension {
    struct xla_extension base;
    struct xla_metadata *metadata;
};

struct xla_error;

struct xla_error_create {
    size_t size;
    struct xla_extension *extensions;
    const char *message;
    int code;
};

struct xla_stream_get {
    size_t size;
    struct xla_extension *extensions;
    void *context;
    void *stream;
};

struct xla_api {
    size_t size;
    struct xla_extension *extensions;
    struct xla_version version;
    const void *internal;
    struct xla_error *(*error_create)(struct xla_error_create *);
    void (*error_message)(void *);
    void (*error_destroy)(void *);
    struct xla_error *(*handler_register)(void *);
    struct xla_error *(*stream_get)(struct xla_stream_get *);
    /* and more */
};

struct xla_buffer {
    size_t size;
    struct xla_extension *extensions;
    int type;
    void *data;
    int64_t rank;
    int64_t *dims;
};

struct xla_buffers {
    size_t size;
    struct xla_extension *extensions;
    int64_t count;
    int *types;
    struct xla_buffer **buffers;
};

struct xla_scalar {
    int type;
    void *value;
};

struct xla_attributes {
    size_t size;
    struct xla_extension *extensions;
    int64_t count;
    int *types;
    void **names;
    void **values;
};

struct xla_call {
    size_t size;
    struct xla_extension *extensions;
    const struct xla_api *api;
    void *context;
    int stage;
    struct xla_buffers operands, results;
    struct xla_attributes attributes;
};

#endif
