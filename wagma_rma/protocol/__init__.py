"""The protocol: group averages that wait for no slow rank, and synchronisations of all ranks (PROTOCOL.md).

``protocol`` is the sequence of a group step; ``turn``, ``snapshots``, ``record``, ``exchange``, ``sums`` and
``results`` are its parts, ``pace`` and ``calls`` say how long it waits. ``words`` and ``layout`` say what
the words of a window hold and where everything lies. ``synchronization`` is the step of all ranks, in
Python, with ``barrier``, ``reduction``, ``rounds`` and ``announcements``; ``departures`` knows which ranks
have left the run or joined. All of it uses windows, the waiter, kernels, and pointers to a model's leaves;
nothing calls MPI.
"""
