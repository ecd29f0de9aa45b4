"""The caller's model: containers of arrays (``structure``), pointers to its leaves (``leaf_pointers``).

Uses numpy, and the table of dtypes in ``kernels``.
"""
