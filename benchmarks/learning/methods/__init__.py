"""The methods over real ranks, one a module, all with the interface of `method`; they talk by mpi4py."""

from functools import partial

from benchmarks.learning.methods.adpsgd import ADPSGD
from benchmarks.learning.methods.allreduce import Allreduce
from benchmarks.learning.methods.diloco import DiLoCo
from benchmarks.learning.methods.dpsgd import DPSGD
from benchmarks.learning.methods.eager import Eager
from benchmarks.learning.methods.local import Local
from benchmarks.learning.methods.sgp import SGP
from benchmarks.learning.methods.wagma import Wagma

METHODS = {
    "allreduce": Allreduce,
    "local": Local,
    "diloco": DiLoCo,
    "d-psgd": DPSGD,
    "sgp": SGP,
    "ad-psgd": ADPSGD,
    "eager-solo": Eager,
    "eager-majority": partial(Eager, majority=True),
    "wagma": Wagma,
    "wagma-elastic": partial(Wagma, sync_quorum=1),
    "wagma-half": partial(Wagma, sync_quorum=0.5),
    "wagma-majority": partial(Wagma, majority=True),
    "wagma-moments": partial(Wagma, sync_quorum=1, moments="synchronize"),
    "wagma-overlap": partial(Wagma, sync_quorum=1, overlap=True),
}
