"""What tests of a window need, and tests of the protocol in one process. Only tests use this package.

- ``check_window`` checks that a window keeps the promises of its verbs. Every window must pass.
- ``SimulatedWindow`` is a window on a memory as weak as ``Window`` allows. Its ranks are threads of a
  ``Scheduler``, which runs one of them at a time, in the order that a ``Schedule`` gives.
- ``ThreadWindow`` is a window whose ranks are threads that run freely, for ThreadSanitizer. ``take_steps``
  has such a rank do many steps without Python in between.

A wheel holds the simulated and the thread window only if it was built with WAGMA_RMA_TESTING=1.

May use everything below the averager.
"""

from typing import TYPE_CHECKING

from wagma_rma.testing.conformance import check_window as check_window
from wagma_rma.testing.schedule import FOREVER as FOREVER
from wagma_rma.testing.schedule import Interruption as Interruption
from wagma_rma.testing.schedule import Schedule as Schedule
from wagma_rma.testing.schedule import Silence as Silence
from wagma_rma.testing.schedule import Stop as Stop
from wagma_rma.windows.verbs import Verbs as Verbs

try:
    from wagma_rma.testing.scheduler import NoEnd as NoEnd
    from wagma_rma.testing.scheduler import Scheduler as Scheduler
    from wagma_rma.testing.scheduler import SimulationOver as SimulationOver
    from wagma_rma.testing.simulated_memory import SimulatedMemory as SimulatedMemory
    from wagma_rma.testing.simulated_window import SimulatedWindow as SimulatedWindow
    from wagma_rma.testing.steps import take_steps as take_steps
    from wagma_rma.testing.thread_window import ThreadMemory as ThreadMemory
    from wagma_rma.testing.thread_window import ThreadWindow as ThreadWindow
except ImportError as _error:
    _reason = str(_error)
    _not_built = {
        *("NoEnd", "Scheduler", "SimulationOver", "SimulatedMemory", "SimulatedWindow"),
        *("take_steps", "ThreadMemory", "ThreadWindow"),
    }

    if not TYPE_CHECKING:

        def __getattr__(name: str) -> object:
            if name not in _not_built:
                raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
            raise ImportError(
                f"wagma_rma.testing.{name} is not built; run in its checkout: pip install -e "
                "'.[mpich,jax,test]', or, to install it too: WAGMA_RMA_TESTING=1 pip install '.[mpich]' "
                f"[{_reason}]"
            )
