/* The part of mpi.h that rma.c needs, copied by hand for each ABI.
 *
 * Every MPI's wheel installs its mpi.h at the same place, so no build environment can hold two of them. The
 * declarations below can't change without breaking every program that was ever linked to these libraries. A test
 * compiles rma.c together with the mpi.h of its environment, where a declaration that differs is an error.
 */
#ifndef WAGMA_MPI_ABI_H
#define WAGMA_MPI_ABI_H

#if defined(WAGMA_ABI_MPICH) /* libmpi.so.12: MPICH, Intel MPI, Cray MPICH, MVAPICH */
#define WAGMA_ABI mpich
typedef int MPI_Comm, MPI_Datatype, MPI_Op, MPI_Request, MPI_Win;
typedef struct MPI_Status MPI_Status;
#define WAGMA_STATUS_IGNORE ((MPI_Status *)1)
#define WAGMA_ANY_SOURCE (-2)

#elif defined(WAGMA_ABI_OPENMPI) /* libmpi.so.40 */
#define WAGMA_ABI openmpi
typedef struct ompi_communicator_t *MPI_Comm;
typedef struct ompi_datatype_t *MPI_Datatype;
typedef struct ompi_op_t *MPI_Op;
typedef struct ompi_request_t *MPI_Request;
typedef struct ompi_win_t *MPI_Win;
typedef struct ompi_status_public_t MPI_Status;
#define WAGMA_STATUS_IGNORE ((MPI_Status *)0)
#define WAGMA_ANY_SOURCE (-1)

#else
#error "rma.c is compiled for one ABI at a time: define WAGMA_ABI_MPICH or WAGMA_ABI_OPENMPI"
#endif

#define WAGMA_ANY_TAG (-1)
#define WAGMA_SUCCESS 0

typedef long MPI_Aint;
typedef int(MPI_Comm_copy_attr_function)(MPI_Comm, int, void *, void *, void *, int *);
typedef int(MPI_Comm_delete_attr_function)(MPI_Comm, int, void *, void *);

int MPI_Fetch_and_op(const void *, void *, MPI_Datatype, int, MPI_Aint, MPI_Op, MPI_Win);
int MPI_Compare_and_swap(const void *, const void *, void *, MPI_Datatype, int, MPI_Aint, MPI_Win);
int MPI_Rget(void *, int, MPI_Datatype, int, MPI_Aint, int, MPI_Datatype, MPI_Win, MPI_Request *);
int MPI_Test(MPI_Request *, int *, MPI_Status *);
int MPI_Win_flush(int, MPI_Win);
int MPI_Win_sync(MPI_Win);
int MPI_Win_unlock_all(MPI_Win);
int MPI_Win_free(MPI_Win *);
int MPI_Iprobe(int, int, MPI_Comm, int *, MPI_Status *);
int MPI_Comm_create_keyval(MPI_Comm_copy_attr_function *, MPI_Comm_delete_attr_function *, int *, void *);
int MPI_Comm_free_keyval(int *);
int MPI_Abort(MPI_Comm, int);
int MPI_Comm_set_attr(MPI_Comm, int, void *);
int MPI_Comm_delete_attr(MPI_Comm, int);

#endif
