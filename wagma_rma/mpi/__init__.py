"""MPI, as far as the windows need it: its ABI, the functions of it that are called from C, and its ranks.

``abi`` says which ABI the running MPI has, and loads the table of functions (``rma.c``, compiled once for
each ABI). ``operations.c`` performs batches of operations on words, ``progress.c`` is a rank's progress
thread, and ``finalize_hook`` ends threads and windows before MPI_Finalize does its work. ``hosts`` and
``agreement`` are collective calls on a communicator: which ranks share a host, and how all ranks raise the
error that one of them found.
``launcher`` compares MPI_COMM_WORLD with what the launcher has told its processes.

May use ``kernels`` and ``waiting``. Only this package and ``windows`` call MPI's one-sided operations.
"""
