"""Ranks that are started once and run many functions, one after another.

    pool.run(4, "ranks.averaging:exact", limit=60, lent=True)

A pool is one mpiexec; there is one for each number of ranks and environment. A function gets a new duplicate
of the communicator, and what it prints is shown if it fails. When a rank raises, dies or runs past the limit:

1. the test fails, with what all ranks have said and where each is;
2. the pool is killed;
3. the next test gets a new one.

What a function changes for the whole process must be as it was when it returns. `worker.py` restores signal
handlers, logging, warnings and the environment, and reports other changes as errors.

A test has ranks of its own, by launch.run(), if it ends, kills or stops processes, looks at the exit code or
the output of a program, leaves an averager open, or needs a fresh process.
"""

import atexit
import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import launch

# Idle ranks take memory, and little else: this many are kept at most.
MOST_IDLE_RANKS = 14
START_LIMIT = 120  # seconds for all ranks to begin
GRACE = 2.0  # seconds for the others to tell too what has become of them, once one has failed


class Failed(AssertionError):
    """A function that failed, or a rank that died, with what the ranks said."""


class Pool:
    """Ranks of one mpiexec that wait for functions to run.

    Args:
        ranks: how many.
        start: starts a command on so many ranks.
        modules: what the ranks import before they run the first function.
    """

    def __init__(
        self, ranks: int, start: Callable[[list[str]], launch.Ranks], modules: tuple[str, ...] = ()
    ) -> None:
        self.ranks = ranks
        python = [sys.executable, "-W", "error", "-m", "mpi4py"]
        self._ranks = start([*python, "-m", "tests.support.worker", *modules])
        self._connections: dict[int, socket.socket] = {}
        self._jobs = 0

    @property
    def directory(self) -> Path:
        """Where the ranks leave what they say."""
        return self._ranks.directory

    def run(self, function: str, arguments: dict[str, Any], limit: float) -> list[Any]:
        """Run a function on each rank and return what it returned at each.

        Raises:
            Failed: it raised, or a rank died or ran past `limit` seconds. The pool has been killed.
        """
        self._jobs += 1
        job = {"number": self._jobs, "function": function, "arguments": arguments}
        try:
            if not self._connections:
                self._connect()
            for connection in self._connections.values():
                connection.sendall(json.dumps(job).encode() + b"\n")
            return self._results(function, limit)
        except BaseException:
            self.kill()
            raise

    def close(self) -> None:
        """Let the ranks end.

        Raises:
            Failed: they do not end well.
        """
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        code, output = self._ranks.wait(60)
        if code or output:
            raise Failed(f"a pool of {self.ranks} ranks ended with {code}:\n{output}")

    def kill(self) -> None:
        """End the ranks at once."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._ranks.kill()

    def _connect(self) -> None:
        """Wait for all ranks to say that they have begun."""
        deadline = time.monotonic() + START_LIMIT
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.directory / "socket"))
            listener.listen(self.ranks)
            (self.directory / "listening").touch()
            listener.settimeout(0.2)
            while len(self._connections) < self.ranks:
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    ended = self._ranks.process.poll() is not None
                    if ended or time.monotonic() > deadline:
                        _, output = self._ranks.end()
                        if launch.STILLBORN in output and not self._connections:
                            self._ranks.start_again()
                            continue
                        begun = f"{len(self._connections)} of {self.ranks}"
                        raise Failed(f"only {begun} ranks of a pool have begun:\n{output}") from None
                    continue
                connection.settimeout(START_LIMIT)
                self._connections[json.loads(_line(connection))["rank"]] = connection

    def _results(self, function: str, limit: float) -> list[Any]:
        results: dict[int, Any] = {}
        failed: dict[int, str] = {}
        deadline = time.monotonic() + limit
        with selectors.DefaultSelector() as selector:
            for rank, connection in self._connections.items():
                selector.register(connection, selectors.EVENT_READ, rank)
            while len(results) + len(failed) < self.ranks:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                for key, _ in ready:
                    selector.unregister(key.fileobj)
                    reply = _line(self._connections[key.data])
                    if not reply:
                        failed[key.data] = "died"
                    elif "error" in (told := json.loads(reply)):
                        failed[key.data] = told["error"]
                    else:
                        results[key.data] = told["result"]
                if failed:
                    deadline = min(deadline, time.monotonic() + GRACE)
                if not ready and time.monotonic() >= deadline:
                    break
        if len(results) == self.ranks:
            return [results[rank] for rank in range(self.ranks)]
        raise Failed(self._what_failed(function, limit, set(results), failed))

    def _what_failed(self, function: str, limit: float, done: set[int], failed: dict[int, str]) -> str:
        """End the ranks; return what each was doing and what it has said."""
        hang = set(range(self.ranks)) - done - set(failed)
        for rank, pid in self._ranks.pids().items():
            if rank in hang:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGUSR1)  # to say where it is
        if hang:
            time.sleep(0.5)
        code, output = self._ranks.end(within=10 if "died" in failed.values() else 0)
        raised = [rank for rank, error in failed.items() if error != "died"]
        if raised:
            # As mpi4py ends ranks one of which has raised.
            headline = f"{function} on {self.ranks} ranks ended with 1:"
        elif failed:
            headline = f"{function} on {self.ranks} ranks ended with {code}:"
        else:
            headline = f"{function}: ranks ran past {limit} s; they said:"
        said = [headline]
        for rank in range(self.ranks):
            path = self.directory / f"said.{self._jobs}.{rank}"
            state = "is through" if rank in done else "waits" if rank in hang else "failed"
            text = path.read_text(errors="replace") if path.exists() else ""
            error = "" if failed.get(rank, "died") == "died" else failed[rank]
            said.append(f"-- rank {rank} {state}\n{text}{error}".rstrip())
        return "\n".join([*said, output]).rstrip()


def _line(connection: socket.socket) -> bytes:
    """Return a line, or nothing if the other end is gone."""
    parts: list[bytes] = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            parts.append(part)
            if part.endswith(b"\n"):
                return b"".join(parts)
    return b""


class Pools:
    """The pools that are kept, by key; those used last stay."""

    def __init__(self, most_idle: int = MOST_IDLE_RANKS) -> None:
        self._most_idle = most_idle
        self._pools: OrderedDict[object, Pool] = OrderedDict()
        self.wrong: list[str] = []  # what pools have said at their ends

    def run(
        self, key: object, make: Callable[[], Pool], function: str, arguments: dict[str, Any], limit: float
    ) -> list[Any]:
        """Run a function on the pool of a key, made if there is none."""
        pool = self._pools.pop(key, None) or make()
        self._pools[key] = pool
        while len(self._pools) > 1 and sum(each.ranks for each in self._pools.values()) > self._most_idle:
            self._close(self._pools.popitem(last=False)[1])
        try:
            return pool.run(function, arguments, limit)
        except BaseException:
            self._pools.pop(key, None)
            raise

    def close(self) -> None:
        """End all ranks."""
        while self._pools:
            self._close(self._pools.popitem()[1])

    def kill(self) -> None:
        """End all ranks at once."""
        while self._pools:
            self._pools.popitem()[1].kill()

    def _close(self, pool: Pool) -> None:
        try:
            pool.close()
        except AssertionError as error:
            self.wrong.append(str(error))


POOLS = Pools()
atexit.register(POOLS.close)


def modules_of(function: str) -> tuple[str, ...]:
    """Return what ranks that run functions of an area import once."""
    return ("jax_bindings",) if function.startswith("jax.") else ("wagma_rma",)


def run(
    ranks: int, function: str, *, limit: float = 120, env: dict[str, str] | None = None, **arguments: Any
) -> list[Any]:
    """Run `function` ("area.module:name", see rank.py) on each rank; return what it returned at each.

    Args:
        limit: seconds.
        env: of the ranks; those of another environment are others.
        arguments: JSON.

    Raises:
        Failed: see Pool.run().
    """
    modules = modules_of(function)
    key = ranks, modules, tuple(sorted((env or {}).items())), launch.mpiexec(), launch.TEST_HOSTS

    def make() -> Pool:
        return Pool(ranks, lambda command: launch.Ranks(ranks, command, env), modules)

    return POOLS.run(key, make, function, arguments, limit)
