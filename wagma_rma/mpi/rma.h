/* The functions of MPI that wagma_rma calls by itself, as a table: one for each ABI.
 *
 * An MPI handle is an int in one ABI and a pointer in the other, so rma.c is compiled once for each. mpi4py
 * knows which of them fits the MPI that runs, and gives handles as numbers. Every function returns MPI's error code.
 */
#ifndef WAGMA_RMA_H
#define WAGMA_RMA_H

#include <stdint.h>

typedef intptr_t wagma_handle; /* an MPI handle of either ABI */

struct wagma_rma {
    /* A 64-bit word of `rank`, at a byte offset: found = word, word = word op operand; complete after flush(). */
    int (*fetch_and_op)(const uint64_t *operand, uint64_t *found, wagma_handle type, int rank, int64_t offset,
                        wagma_handle op, wagma_handle win);
    int (*compare_and_swap)(const uint64_t *desired, const uint64_t *expected, uint64_t *found, wagma_handle type,
                            int rank, int64_t offset, wagma_handle win);
    int (*flush)(int rank, wagma_handle win);
    /* Bytes of `rank`; complete when test() says so. */
    int (*get)(void *into, int nbytes, wagma_handle byte, int rank, int64_t offset, wagma_handle win,
               wagma_handle *request);
    int (*test)(wagma_handle *request, int *done);
    int (*sync)(wagma_handle win);
    /* Let MPI serve what other ranks ask of this process. */
    int (*poll)(wagma_handle comm);
    /* End the passive-target epoch, and free the window. Collective. */
    int (*end)(wagma_handle win);
    /* Have hook(state) called first thing in MPI_Finalize, or now by unhook(); `self` is MPI_COMM_SELF. */
    int (*at_finalize)(int (*hook)(void *), void *state, wagma_handle self, int *keyval);
    int (*unhook)(wagma_handle self, int *keyval);
};

#endif
