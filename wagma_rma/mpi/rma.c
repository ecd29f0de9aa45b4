/* The table of rma.h for one ABI, in a Python module that holds a capsule of it and nothing else. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "mpi_abi.h"
#include "rma.h"

#include <stdlib.h>

static int fetch_and_op(const uint64_t *operand, uint64_t *found, wagma_handle type, int rank, int64_t offset,
                        wagma_handle op, wagma_handle win) {
    return MPI_Fetch_and_op(operand, found, (MPI_Datatype)type, rank, (MPI_Aint)offset, (MPI_Op)op, (MPI_Win)win);
}

static int compare_and_swap(const uint64_t *desired, const uint64_t *expected, uint64_t *found, wagma_handle type,
                            int rank, int64_t offset, wagma_handle win) {
    return MPI_Compare_and_swap(desired, expected, found, (MPI_Datatype)type, rank, (MPI_Aint)offset,
                                (MPI_Win)win);
}

static int flush(int rank, wagma_handle win) {
    return MPI_Win_flush(rank, (MPI_Win)win);
}

static int get(void *into, int nbytes, wagma_handle byte, int rank, int64_t offset, wagma_handle win,
               wagma_handle *request) {
    MPI_Request handle;
    int error = MPI_Rget(into, nbytes, (MPI_Datatype)byte, rank, (MPI_Aint)offset, nbytes, (MPI_Datatype)byte,
                         (MPI_Win)win, &handle);
    *request = (wagma_handle)handle;
    return error;
}

static int test(wagma_handle *request, int *done) {
    MPI_Request handle = (MPI_Request)*request;
    int error = MPI_Test(&handle, done, WAGMA_STATUS_IGNORE);
    *request = (wagma_handle)handle;
    return error;
}

static int sync_memory(wagma_handle win) {
    return MPI_Win_sync((MPI_Win)win);
}

static int poll_once(wagma_handle comm) {
    int unused;
    return MPI_Iprobe(WAGMA_ANY_SOURCE, WAGMA_ANY_TAG, (MPI_Comm)comm, &unused, WAGMA_STATUS_IGNORE);
}

static int end(wagma_handle win) {
    MPI_Win handle = (MPI_Win)win;
    int error = MPI_Win_unlock_all(handle);
    return error == WAGMA_SUCCESS ? MPI_Win_free(&handle) : error;
}

struct hook {
    int (*call)(void *);
    void *state;
};

static int not_copied(MPI_Comm comm, int keyval, void *extra, void *value, void *copy, int *flag) {
    (void)comm, (void)keyval, (void)extra, (void)value, (void)copy;
    *flag = 0;
    return WAGMA_SUCCESS;
}

static int call_hook(MPI_Comm comm, int keyval, void *value, void *extra) {
    struct hook *hook = value;
    int error = hook->call(hook->state);
    (void)comm, (void)keyval, (void)extra;
    free(hook);
    return error;
}

static int at_finalize(int (*call)(void *), void *state, wagma_handle self, int *keyval) {
    int error;
    struct hook *hook = malloc(sizeof *hook);
    if (!hook) return -1;
    hook->call = call;
    hook->state = state;
    error = MPI_Comm_create_keyval(not_copied, call_hook, keyval, NULL);
    if (error == WAGMA_SUCCESS) error = MPI_Comm_set_attr((MPI_Comm)self, *keyval, hook);
    if (error != WAGMA_SUCCESS) free(hook);
    return error;
}

static int unhook(wagma_handle self, int *keyval) {
    int error = MPI_Comm_delete_attr((MPI_Comm)self, *keyval);
    return error == WAGMA_SUCCESS ? MPI_Comm_free_keyval(keyval) : error;
}

static int abort_job(wagma_handle comm, int code) { return MPI_Abort((MPI_Comm)comm, code); }

static struct wagma_rma table = {
    fetch_and_op, compare_and_swap, flush, get, test, sync_memory, poll_once, end, at_finalize, unhook, abort_job,
};

#define NAME(abi) NAME_(abi)
#define NAME_(abi) #abi
#define INIT(abi) INIT_(abi)
#define INIT_(abi) PyInit_rma_##abi

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "rma_" NAME(WAGMA_ABI), NULL, 0, NULL, NULL,
                                    NULL, NULL, NULL};

PyMODINIT_FUNC INIT(WAGMA_ABI)(void) {
    PyObject *created = PyModule_Create(&module);
    PyObject *capsule = PyCapsule_New(&table, "wagma_rma.mpi.rma", NULL);
    if (!created || !capsule || PyModule_AddObject(created, "table", capsule) < 0) {
        Py_XDECREF(created);
        Py_XDECREF(capsule);
        return NULL;
    }
    return created;
}
