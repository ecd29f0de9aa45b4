"""benchmarks.learning: the methods on real ranks, in virtual time, and one against the other."""
