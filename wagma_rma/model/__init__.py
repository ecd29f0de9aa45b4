"""The caller's model: containers of arrays (``structure``), arrays of other frameworks (``foreign``),
pointers to the leaves (``leaf_pointers``).

Uses numpy, and the table of dtypes in ``kernels``.
"""
