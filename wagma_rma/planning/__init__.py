"""Step rates that are predicted: the protocol in virtual time, fed with the step times of a trace.

``world`` has the clocks and events, ``costs`` says what communication takes, ``wagma`` and ``synchronous``
are what ranks do. ``plan`` is `python -m wagma_rma plan`. benchmarks/learning trains models by the same
clocks.
"""
