"""Benchmarks, each a program: `mpiexec -n 2 python -m benchmarks.exchange` from the checkout."""
