"""Arithmetic and atomics in C, which know no rank, window or step.

``kernels`` sums, averages and copies; ``dtypes`` is the table of what can be averaged; ``streaming`` chooses
which writes bypass the caches; ``floats`` sets the floating-point environment. The headers ``atomics.h``,
``clock.h`` and ``memory.h`` serve all other layers. Uses nothing of the rest of the package.
"""
