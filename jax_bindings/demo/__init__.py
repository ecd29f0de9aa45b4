"""A demonstration: ranks train a network on handwritten digits, and some of them are slow now and then.

    mpiexec -n 4 python -m jax_bindings.demo

`__main__` parses the command line with `arguments`, trains with `training`, and prints `summary`. The
training uses the data and the network of `digits`, and the live table of `board`. `timeline` draws the
picture of the run.

The demo is a user of jax_bindings: it may import what jax_bindings exports, and wagma_rma.bindings. Nothing
but examples and tests imports the demo.
"""
