"""How ranks, and threads of a rank, tell each other to go on."""

import time

PATIENT = 60.0  # seconds, for waits that end well: a guard against hangs only
SIGNAL = 77


def until(condition):
    """Wait until a condition holds; how long that takes is the machine's affair."""
    limit = time.monotonic() + PATIENT
    while not condition():
        assert time.monotonic() < limit, "what was waited for has not come"
        time.sleep(0.005)


def signal_to(comm, *ranks):
    """Let ranks go on that wait for a signal from this one."""
    for rank in ranks:
        comm.send(None, rank, SIGNAL)


def signal_from(comm, *ranks):
    """Wait, without wearing out a core that others need, for a signal from each of these ranks."""
    for rank in ranks:
        until(lambda rank=rank: comm.Iprobe(rank, SIGNAL))
        comm.recv(source=rank, tag=SIGNAL)
