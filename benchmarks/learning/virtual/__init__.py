"""Training in virtual time: every rank has a clock, and all ranks are in one process.

Clocks take what `benchmarks.step_times` draws for computing and what `costs` says for communication. Models
are really trained and averaged, in the order that the clocks give (`fleet`), or not at all where only times
are wanted. `world` joins the two; each method is a function of it.
"""

from functools import partial

from benchmarks.learning.virtual.adpsgd import adpsgd
from benchmarks.learning.virtual.eager import eager
from benchmarks.learning.virtual.fastest import fastest
from benchmarks.learning.virtual.synchronous import allreduce, diloco, dpsgd, local, sgp
from benchmarks.learning.virtual.wagma import wagma

METHODS = {
    "allreduce": allreduce,
    "fastest": fastest,
    "local": local,
    "diloco": diloco,
    "d-psgd": dpsgd,
    "sgp": sgp,
    "ad-psgd": adpsgd,
    "eager-solo": eager,
    "eager-majority": partial(eager, majority=True),
    "wagma": wagma,
    "wagma-elastic": partial(wagma, sync_quorum=1),
    "wagma-majority": partial(wagma, majority=True),
    "wagma-moments": partial(wagma, sync_quorum=1, moments=True),
}
