"""The methods in virtual time, by the names of benchmarks.learning.methods."""

from functools import partial

from benchmarks.learning.virtual.adpsgd import adpsgd
from benchmarks.learning.virtual.eager import eager
from benchmarks.learning.virtual.fastest import fastest
from benchmarks.learning.virtual.synchronous import diloco, dpsgd, sgp
from wagma_rma.planning.synchronous import allreduce, local
from wagma_rma.planning.wagma import wagma

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
    "wagma-half": partial(wagma, sync_quorum=0.5),
    "wagma-majority": partial(wagma, majority=True),
    "wagma-moments": partial(wagma, sync_quorum=1, moments=True),
    "wagma-overlap": partial(wagma, sync_quorum=1, overlap=True),
}
