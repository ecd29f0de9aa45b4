"""Many steps of many ranks that sleep, and are stopped and continued, at random: python -m tests.proof.soak.

Each result is checked as the tests of stragglers do, and pins and records at each synchronisation. With
--sync-quorum ranks are called to synchronisations and skip steps. TEST_HOSTS=2 has the ranks on two hosts.
The last line is the result; the exit code is 0 if nothing was wrong.
"""

import argparse
import collections
import contextlib
import os
import random
import signal
import sys
import time

from tests.support import launch

COUNTED = ("FRESH", "LATE", "MISSED", "SYNCHRONIZED", "skipped")


class Stops:
    """Stops random ranks for a while, again and again."""

    def __init__(self, pids, seed):
        self.count = 0
        self._rng = random.Random(seed)
        # Not by pid: that may have been given to another process since.
        self._ranks = [os.pidfd_open(pid) for pid in pids]

    def once(self, between, longest):
        """Wait up to `between` seconds, then stop up to three ranks for up to `longest` seconds."""
        time.sleep(self._rng.random() * between)
        victims = self._rng.sample(self._ranks, min(len(self._ranks), self._rng.randint(1, 3)))
        try:
            for victim in victims:
                signal.pidfd_send_signal(victim, signal.SIGSTOP)
                self.count += 1
            time.sleep(self._rng.random() * longest)
        except ProcessLookupError:
            pass  # the rank has ended
        finally:
            for victim in victims:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(victim, signal.SIGCONT)

    def close(self):
        for rank in self._ranks:
            os.close(rank)


def pids(job, ranks):
    """Return the process ids of all ranks, once they have begun."""
    limit = time.monotonic() + 60
    while len(job.pids()) < ranks:
        if job.process.poll() is not None or time.monotonic() > limit:
            raise AssertionError(job.wait(1)[1])
        time.sleep(0.05)
    return list(job.pids().values())


def sync_quorum(text):
    """Return a number of ranks, a share of them, or None, which a word of the command line says."""
    if text == "none":
        return None
    return float(text) if "." in text else int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20_000, help="of each rank, a multiple of the period")
    parser.add_argument("--seed", type=int, default=1, help="of the stops; the sleeps have their own")
    parser.add_argument("--period", type=int, default=20)
    parser.add_argument("--size", type=int, default=10_000, help="float32 elements of a model")
    parser.add_argument("--group-size", type=int, default=4)
    parser.add_argument("--quorum", type=int, default=1)
    parser.add_argument(
        "--sync-quorum",
        type=sync_quorum,
        help="how many ranks, or with a point which share of them, call the others to a synchronisation",
    )
    parser.add_argument("--patience", type=lambda text: text if text == "auto" else float(text), default=0.0)
    parser.add_argument("--sleeps", type=float, default=0.01, help="the longest sleep before a step, seconds")
    parser.add_argument("--stops", type=float, default=0.1, help="the longest, seconds")
    parser.add_argument(
        "--between", type=float, default=0.1, help="the longest time from stop to stop, seconds"
    )
    parser.add_argument("--limit", type=float, default=1800, help="seconds after which everything is ended")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("soak: ended by a signal"))

    started = time.monotonic()
    job = launch.start(
        options.ranks,
        "ranks.stragglers:torture",
        {"RANKS_DUMP_AFTER": str(options.limit)},
        size=options.size,
        steps=options.steps,
        period=options.period,
        group_size=options.group_size,
        sleeps=options.sleeps,
        patience=options.patience,
        quorum=options.quorum,
        sync_quorum=options.sync_quorum,
        chunk_bytes=4096,
    )
    try:
        stops = Stops(pids(job, options.ranks), options.seed)
        while job.process.poll() is None and time.monotonic() < started + options.limit:
            stops.once(options.between, options.stops)
        stops.close()
        code, output = job.wait(max(1, started + options.limit - time.monotonic()))
        if code:
            sys.exit(f"soak: the ranks ended with {code}:\n{output}")
        results = job.results(options.ranks)
    finally:
        job.kill()

    outcomes, violations = collections.Counter(), 0
    for rank, (wrong, counts) in enumerate(results):
        violations += len(wrong)
        for line in wrong[:5]:
            print(f"rank {rank}: {line}")
        outcomes.update(dict(zip(COUNTED, counts, strict=True)))
    print(
        f"soak: {launch.mpi_name()}, {options.ranks} ranks, {options.steps} steps each, seed {options.seed}, "
        f"sync_quorum {options.sync_quorum}, "
        f"{time.monotonic() - started:.0f} s: {stops.count} stops; "
        f"{', '.join(f'{count} {name}' for name, count in outcomes.items())}; {violations} violations"
    )
    sys.exit(1 if violations or outcomes.total() != options.ranks * options.steps else 0)


if __name__ == "__main__":
    main()
