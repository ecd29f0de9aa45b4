"""What runs on one core and knows no rank: arithmetic, atomics, the clock.

``kernels`` sums and averages chunks in every dtype; ``floats`` gives a thread the default floating-point
environment; ``atomics.h`` are the operations on words that processes share; ``clock.h`` the clock and the
ways to give up a core; ``memory.h`` the sizes of cache lines and pages.

Uses nothing of wagma_rma. Everything else may use it.
"""
