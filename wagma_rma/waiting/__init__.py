"""Waiting for other ranks: how a rank spends the time, and what ends a wait early.

``waiter`` is the clock and the back-off of one rank: spin, yield, sleep. ``watch`` warns about long waits and
raises at the timeout. ``interrupts`` lets Ctrl-C through at chosen moments; ``ctrl_c`` lets it end a wait on
a thread that is not the main one. ``processes`` tells whether a process of this host has ended.

May use ``kernels`` alone. Knows neither windows nor MPI.
"""
