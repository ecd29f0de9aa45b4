"""A request to stop, by which a job is told that its time is up."""

import os
import signal
from multiprocessing import forkserver, resource_tracker
from types import FrameType, TracebackType
from typing import Any, Self

# SLURM sends SIGTERM before it kills a job. SIGUSR1 is what mpiexec and srun all pass on to ranks.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
EXIT_CODE = os.EX_TEMPFAIL  # 75: the job has saved its state and can be started again


class Stop:
    """Whether a signal has asked this process to stop, in the block of a with statement."""

    def __init__(self) -> None:
        self.requested = False
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        self._before = [signal.signal(number, self._request) for number in SIGNALS]
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in zip(SIGNALS, self._before, strict=True):
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


def start_deaf_helpers() -> None:
    """Start the helpers of multiprocessing, from which workers come, so that they ignore requests to stop.

    Launchers send a signal to all processes of a rank. A worker that it ends would end the rank by an error.
    Processes inherit it from the one that starts them that they ignore a signal.
    """
    before = [signal.signal(number, signal.SIG_IGN) for number in SIGNALS]
    resource_tracker.ensure_running()
    forkserver.ensure_running()
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)
