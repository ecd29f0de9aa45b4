"""Ctrl-C in a wait on a thread that is not the main one."""

cdef int check_interrupt() except -1
