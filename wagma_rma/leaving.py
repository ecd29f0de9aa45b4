"""How a rank ends its part in a run: by close(), by an error, by the end of its program, or as garbage."""

import contextlib
from weakref import WeakMethod

from mpi4py import MPI

from wagma_rma import dropped
from wagma_rma.lifecycle import Event, Lifecycle, State
from wagma_rma.mpi.before_finalize import BeforeFinalize
from wagma_rma.opening import Parts
from wagma_rma.protocol.protocol import nothing
from wagma_rma.protocol.row import ENDS
from wagma_rma.protocol.words import BROKEN, LEFT
from wagma_rma.waiting.watch import Expectation

TELL_WITHIN = 1.0  # seconds in which a rank that departs tries to tell so


class Leaving:
    """Ends one averager on one rank: the others are told, the trace is written, threads and memory go.

    Args:
        parts: what open_averager() has made.
        lifecycle: the averager's own.
    """

    def __init__(self, parts: Parts, lifecycle: Lifecycle) -> None:
        self._parts = parts
        self._lifecycle = lifecycle
        self._protocol = parts.protocol
        self._before_finalize: BeforeFinalize | None = None
        if parts.worker is not None:
            end_rest = WeakMethod(self.end_rest)
            self._before_finalize = BeforeFinalize(
                lambda: (found := end_rest()) and found("MPI is finalised")
            )
        lifecycle.on_break = self._tell_break

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do.

        True if the averager is closed, has left or is another process's, or MPI is finalised.
        """
        over = (State.CLOSED, State.FORKED)
        return self._lifecycle.state in over or self._parts.departures.has_left or MPI.Is_finalized()

    @property
    def is_forked(self) -> bool:
        """Whether this process is a fork of the one that made the averager."""
        return self._lifecycle.state is State.FORKED

    def leave(self, why: BaseException | str) -> None:
        """Tell the others, once, that this rank takes no further part; they raise RankLeft. Local.

        Args:
            why: what ended it.
        """
        if self.ended:
            return
        with self._parts.interrupts.deferred():
            self.end_rest("its averager is left")
            self._tell(LEFT, why)
            cause = why if isinstance(why, BaseException) else RuntimeError(why)
            self._lifecycle.happens(Event.BREAK, cause)
            self.end("left")

    def end_rest(self, why: str) -> None:
        """Wait for the rest of the last step, on which its group relies; its own waits end now. Local."""
        if self._protocol.rest_under_way and not self.is_forked:
            self._parts.watch.end(RuntimeError(f"average: {why}"))
            with contextlib.suppress(BaseException):
                self._protocol.await_rest(nothing, nothing)

    def gather_trace(self) -> bool:
        """Write the trace of the run, if there is one. Collective: all ranks have come to close().

        Returns:
            Whether the window may be freed: not if a rank has left after all, which others may see later.

        Raises:
            RankLeft: a rank has left meanwhile.
            BaseException: what ends the wait for the others; the next call goes on with it.
        """
        tracer, departures = self._parts.tracer, self._parts.departures
        if tracer is None or tracer.is_written:
            return True
        everybody = range(self._parts.window.ranks)
        # What has departed before it closed all see here.
        if departures.for_good or departures.have_departed(everybody):
            tracer.write_own()
            return False
        self._parts.watch.expect(
            Expectation(
                lambda: f"close: rank {self._parts.window.rank} gathers the trace",
                lambda: [rank for rank in tracer.missing if rank != self._parts.window.rank],
                lambda: departures.check("close", "gathers the trace", everybody),
                "call again to go on waiting, or end the run",
            )
        )
        tracer.gather()
        return True

    def end(self, end: str) -> None:
        """Tell how this rank's part has ended, and end what served it. Local.

        Args:
            end: of protocol.row.ENDS.
        """
        self._protocol.row.set_activity(ENDS[end])
        self._protocol.row.hide()
        self._parts.looker.end_looks()
        self.write_trace()
        if self._parts.worker is not None and self._before_finalize is not None:
            self._parts.worker.stop()
            self._before_finalize.forget()

    def write_trace(self) -> None:
        """Write this rank's part of the trace, where the run has ended without close(). Local."""
        if self._parts.tracer is not None and not self.is_forked:
            self._parts.tracer.write_own()

    def drop(self) -> None:
        """Have the memory given back when that is possible; nobody can use this averager any more. Local."""
        lost = self.is_forked or MPI.Is_finalized()
        if not lost and self._parts.comm and not self._parts.buffers.in_use():
            dropped.keep(self._parts.identity, self._parts.comm.size, self.free)

    def free(self) -> None:
        """Give back the window and the communicator. Collective."""
        self._parts.accelerators.close()
        if not self._parts.window.freed:
            self._parts.looker.free()
        if self._parts.comm:
            self._parts.comm.Free()

    def _tell_break(self, cause: BaseException | None) -> None:
        """Tell the others that this averager can't go on."""
        self._protocol.row.set_activity(ENDS["broken"])
        self._tell(BROKEN, cause or "an error")

    def _tell(self, manner: int, why: BaseException | str) -> None:
        """Tell how this rank departs; give up if a silent rank of another host delays that for too long."""
        watch = self._parts.watch
        usual, watch.timeout = watch.timeout, TELL_WITHIN
        watch.expect(Expectation(lambda: "leave", lambda: None, lambda: None, "the others are not told"))
        try:
            self._parts.departures.leave(manner, self._protocol.last_step, why)
        except TimeoutError:
            pass
        finally:
            watch.timeout = usual
