"""Windows: memory of all ranks, and the verbs by which a rank uses the memory of the others.

``window`` states the verbs. Four modules give them memory: ``mapped`` (memory that this process has mapped),
``shared`` (one host), ``remote`` (many hosts, by MPI's one-sided operations, with ``remote_words``,
``remote_reads``, ``bells`` and ``progress_choice``). ``choice`` opens the right one for some ranks, and
``verbs`` gives the verbs to Python.

May use ``kernels``, ``waiting`` and ``mpi``. Knows nothing of models, groups and steps.
"""
