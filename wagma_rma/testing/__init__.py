"""What it takes to test a window, or the protocol over one, in a single process.

``Scheduler`` runs each rank as a thread, one at a time, as a ``Schedule`` has it; ``SimulatedWindow`` is a
window whose every access is a turn of it. ``ThreadWindow`` lets the threads run freely, over plain memory.
``check_window`` is a suite that every window must pass.
"""

try:
    from wagma_rma.testing import scheduler as _scheduler  # noqa: F401
except ImportError as _error:
    raise ImportError(
        "wagma_rma.testing is not built; run in a checkout: pip install -e '.[mpich,jax,test]', or, to "
        f"install it with the rest: WAGMA_RMA_TESTING=1 pip install '.[mpich]' [{_error}]"
    ) from _error

from wagma_rma.testing.conformance import check_window as check_window
from wagma_rma.testing.schedule import FOREVER as FOREVER
from wagma_rma.testing.schedule import Interruption as Interruption
from wagma_rma.testing.schedule import Schedule as Schedule
from wagma_rma.testing.schedule import Stop as Stop
from wagma_rma.testing.scheduler import NoEnd as NoEnd
from wagma_rma.testing.scheduler import Scheduler as Scheduler
from wagma_rma.testing.scheduler import SimulationOver as SimulationOver
from wagma_rma.testing.simulated_window import SimulatedMemory as SimulatedMemory
from wagma_rma.testing.simulated_window import SimulatedWindow as SimulatedWindow
from wagma_rma.testing.steps import take_steps as take_steps
from wagma_rma.testing.thread_window import ThreadMemory as ThreadMemory
from wagma_rma.testing.thread_window import ThreadWindow as ThreadWindow
from wagma_rma.windows.verbs import Verbs as Verbs
