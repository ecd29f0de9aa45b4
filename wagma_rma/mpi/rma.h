/* The functions of MPI that wagma_rma calls by itself, as a table: one table for each ABI.
 *
 * An MPI handle is an int in one ABI and a pointer in the other, so rma.c is compiled once for each ABI. mpi4py
 * knows which one the running MPI has, and gives handles as numbers. Every function returns MPI's error code.
 */
#ifndef WAGMA_RMA_H
#define WAGMA_RMA_H

#include <stdint.h>

typedef intptr_t wagma_handle; /* an MPI handle of either ABI */

struct wagma_rma {
    /* On the 64-bit word of `rank` at a byte offset: found = word, word = word op operand. Complete after flush(). */
    int (*fetch_and_op)(const uint64_t *operand, uint64_t *found, wagma_handle type, int rank, int64_t offset,
                        wagma_handle op, wagma_handle win);
    int (*compare_and_swap)(const uint64_t *desired, const uint64_t *expected, uint64_t *found, wagma_handle type,
                            int rank, int64_t offset, wagma_handle win);
    int (*flush)(int rank, wagma_handle win);
    /* Read `nbytes` bytes of `rank` from a byte offset. Complete when test() sets *done. */
    int (*get)(void *into, int nbytes, wagma_handle byte, int rank, int64_t offset, wagma_handle win,
               wagma_handle *request);
    int (*test)(wagma_handle *request, int *done);
    int (*sync)(wagma_handle win);
    /* Let MPI serve the operations of other ranks on this process's memory. */
    int (*poll)(wagma_handle comm);
    /* End the passive-target epoch, and free the window. Collective. */
    int (*end)(wagma_handle win);
    /* Register hook(state), which MPI_Finalize calls before it does anything else; unhook() calls it now and removes
     * it. `self` is MPI_COMM_SELF. */
    int (*at_finalize)(int (*hook)(void *), void *state, wagma_handle self, int *keyval);
    int (*unhook)(wagma_handle self, int *keyval);
    /* End all processes of the job, this one too. */
    int (*abort)(wagma_handle comm, int code);
};

#endif
