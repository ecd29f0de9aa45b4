"""A rank of a pool: python -m mpi4py -m tests.support.worker MODULE ...

It imports the modules, and then runs the functions that it is told of over a socket, until that is closed.
While it is idle it waits for the socket and takes no part in MPI.
"""

import contextlib
import faulthandler
import gc
import importlib
import json
import logging
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

from mpi4py import MPI

from tests.support import rank

PACKAGES = ("wagma_rma", "jax_bindings")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR2)


class Unrestored(Exception):
    """A function has left something of the library changed, which the next would find."""


def attributes() -> dict[tuple[str, str], Any]:
    """Return what the names of the library's modules, and of their classes, stand for.

    Not those that may well change: names of modules in lower case for what is no function or class.
    """
    found: dict[tuple[str, str], Any] = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] not in PACKAGES or module is None:
            continue
        for attribute, value in list(vars(module).items()):
            if attribute.isupper() or callable(value):
                found[name, attribute] = value
            if isinstance(value, type) and value.__module__ == name:
                found |= {(f"{name}.{attribute}", key): member for key, member in vars(value).items()}
    return found


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """Put back what a function changes for the whole process; refuse what is not put back here.

    Raises:
        Unrestored: an attribute of the library is another afterwards.
    """
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    loggers = [logging.getLogger(), logging.getLogger("wagma_rma")]
    logs = [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    filters, environment, directory = list(warnings.filters), dict(os.environ), os.getcwd()
    before = attributes()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for logger, (its_handlers, level, propagate) in zip(loggers, logs, strict=True):
            logger.handlers[:], logger.propagate = its_handlers, propagate
            logger.setLevel(level)
        warnings.filters[:] = filters  # type: ignore[index]
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(directory)
    after = attributes()
    changed = [".".join(name) for name, value in before.items() if after.get(name) is not value]
    if changed:
        raise Unrestored(f"left changed: {', '.join(changed)}; use tests.support.changes.changed()")


@contextlib.contextmanager
def output_to(path: os.PathLike[str]) -> Iterator[None]:
    """Have all that this process says go to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    usual = os.dup(1), os.dup(2)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, kept in zip((1, 2), usual, strict=True):
            os.dup2(kept, number)
            os.close(kept)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run a function; return {"result": what it returned} or {"error": the traceback of what it raised}."""
    try:
        with unchanged():
            comm = MPI.COMM_WORLD.Dup()
            function = rank.find(job["function"])
            result = json.loads(json.dumps(function(comm, **job["arguments"])))
            comm.Free()
        return {"result": result}
    except BaseException:
        return {"error": traceback.format_exc()}
    finally:
        gc.collect()


def connected() -> socket.socket:
    """Return a connection to the pool."""
    while not (rank.DIRECTORY / "listening").exists():
        time.sleep(0.001)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(rank.DIRECTORY / "socket"))
    return connection


def main() -> None:
    faulthandler.enable()
    rank.begin()
    for module in sys.argv[1:]:
        importlib.import_module(module)
    mine = MPI.COMM_WORLD.rank
    with connected() as connection, connection.makefile("rb") as commands:
        connection.sendall(json.dumps({"rank": mine}).encode() + b"\n")
        for line in commands:
            job = json.loads(line)
            with output_to(rank.DIRECTORY / f"said.{job['number']}.{mine}"):
                reply = run(job)
            try:
                connection.sendall(json.dumps(reply).encode() + b"\n")
            except BrokenPipeError:
                return


if __name__ == "__main__":
    main()
