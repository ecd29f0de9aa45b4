"""The caller's model: nested containers of arrays (``structure``), and pointers to its leaves (``leaf_pointers``).

Uses numpy, and the table of dtypes in ``kernels``.
"""
