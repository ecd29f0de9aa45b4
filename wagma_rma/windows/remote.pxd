"""A window of many hosts: MPI's one-sided operations."""

from libc.stdint cimport int64_t
from wagma_rma.mpi.finalize_hook cimport FinalizeHook
from wagma_rma.mpi.rma cimport wagma_handle
from wagma_rma.windows.looks cimport Looks
from wagma_rma.windows.remote_reads cimport RemoteReads
from wagma_rma.windows.remote_words cimport RemoteWords
from wagma_rma.windows.shared cimport SharedWindow
from wagma_rma.windows.window cimport Window

cdef class RemoteWindow(Window):
    cdef object comm, host_comm
    cdef int64_t words_bytes       # bulk memory begins behind them
    cdef readonly tuple hosts      # the host of each rank
    cdef readonly str progress     # "thread" or "none"
    cdef readonly str why          # the reason for this progress
    cdef object words_window       # of mpi4py, over all ranks: the words, and a line for the bell
    cdef object bulk_window        # of mpi4py, over all ranks: the bulk memory, which lies in `host_window`
    cdef wagma_handle words_handle, bulk_handle
    cdef SharedWindow host_window  # the bulk memory of this host's ranks
    cdef char** base               # per rank: the address of its bulk memory if it is on this host, else NULL
    cdef RemoteWords words
    cdef RemoteReads reads
    cdef Looks looks
    cdef FinalizeHook finalize_hook  # ends both windows and the progress thread
    cdef object thread_comm        # that the progress thread polls; None without a thread
    cdef bint opened               # and not freed since
    cdef bint has_memory           # the system has given the memory of the words
