"""Training in virtual time: every rank has a clock, and all ranks are in one process.

Clocks take what `benchmarks.step_times` draws for computing and what `costs` says for communication. Models
are really trained and averaged, in the order that the clocks give (`fleet`), or not at all where only times
are wanted. `world` joins the two; each method is a function of it.
"""
