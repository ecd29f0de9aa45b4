"""Which ranks average with whom at which step.

A grouping is a pure function of rank and step, so all ranks agree on it without a message. Here are what a
grouping must offer (``grouping``), the two that the library has (``butterfly``, ``strided``, on their common
``schedule``), the choice between these (``choice``), and the check of a user's own (``check``). Uses the
standard library alone.
"""
