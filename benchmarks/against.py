"""Synchronisations of this checkout and of an earlier version, measured in turns: for synchronise.py."""

import contextlib
import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import communicators, table
from tests.support import launch
from tests.support.hosts import Hosts, why_not

COLUMNS = ("ranks", "floats", "before", "now", "before/now", "least", "most", "allreduce", "/allred")
ROOT = Path(__file__).parents[1]


def add_options(parser):
    """Add the options of a comparison to those of synchronise.py."""
    group = parser.add_argument_group("comparison with an earlier version; mpiexec is started for you")
    group.add_argument("--against", type=Path, metavar="TREE", help="a checkout of it, built in place")
    group.add_argument("--rounds", type=int, default=5, help="launches of each version")
    group.add_argument("--ranks", type=int, default=16, help="on each host")
    group.add_argument("--hosts", type=int, default=1, help="more than 1: network namespaces; needs root")
    group.add_argument("--rate", type=float, help="bits per second of each host's cable")


@contextlib.contextmanager
def starter(arguments):
    """Yield a function that starts a command, with an environment, on each rank."""
    if arguments.hosts == 1:
        yield lambda command, env: launch.Ranks(arguments.ranks, command, env)
        return
    if reason := why_not():
        sys.exit(f"--hosts {arguments.hosts}: no hosts here: {reason}")
    with Hosts(arguments.hosts) as hosts:
        for host in range(arguments.hosts if arguments.rate else 0):
            hosts.rate(host, arguments.rate)
        yield lambda command, env: hosts.start_command(arguments.ranks, command, env=env)


def rows_of(start, tree, options):
    """Return the rows that synchronise.py writes in a launch with the wagma_rma of a checkout."""
    package = (tree / "wagma_rma").resolve()
    with tempfile.TemporaryDirectory() as scratch:
        # The benchmarks are this checkout's in both cases: from TREE nothing but the package is imported.
        (Path(scratch) / "wagma_rma").symlink_to(package)
        path = Path(scratch) / "rows.json"
        command = [sys.executable, "-P", "-m", "mpi4py", "-m", "benchmarks.synchronise", *options]
        job = start([*command, "--json", str(path)], {"PYTHONPATH": f"{scratch}:{ROOT}"})
        code, output = job.wait(600)
        if code:
            sys.exit(f"{tree}: the launch ended with {code}:\n{output}")
        told = json.loads(path.read_text())
    if told["package"] != str(package):
        sys.exit(f"--against: the ranks have imported {told['package']} instead of {package}")
    return {(row["ranks"], row["floats"]): row for row in told["rows"] if "wagma" in row}


def compared(before, now):
    """Return a row of the table, from the rows of the rounds with each version."""
    ratios = [old["wagma"] / new["wagma"] for old, new in zip(before, now, strict=True)]
    return {
        "ranks": now[0]["ranks"],
        "floats": now[0]["floats"],
        "before": statistics.median(row["wagma"] for row in before),
        "now": statistics.median(row["wagma"] for row in now),
        "before/now": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "allreduce": statistics.median(row["allreduce"] for row in before + now),
        "/allred": statistics.median(row["ratio"] for row in now),
    }


def shown(row):
    def seconds(name):
        return f"{row[name] * 1e3:.4f} ms"

    return (
        str(row["ranks"]), f"{row['floats']:,}", seconds("before"), seconds("now"),
        *(f"{row[name]:.2f}" for name in ("before/now", "least", "most")),
        seconds("allreduce"), f"{row['/allred']:.2f}",
    )  # fmt: skip


def sizes_of(arguments):
    """Return how many ranks the communicators have."""
    every = arguments.ranks * arguments.hosts
    if arguments.communicators or arguments.hosts > 1:
        return arguments.communicators or [every]
    return communicators.powers_of_two(every)


def compare(arguments):
    """Measure both versions in turns, and print a table of the medians over the rounds."""
    options = ["--floats", *map(str, arguments.floats), "--seconds", str(arguments.seconds)]
    options += ["--window", arguments.window]
    rows = []
    table.print_line(COLUMNS)
    with starter(arguments) as start:
        # A launch for each size of communicator, so that not much time lies between what is compared.
        for size in sizes_of(arguments):
            before, now = [], []
            for turn in range(arguments.rounds):
                # Which version comes first changes, so that a machine that slows down slows both.
                for rounds, tree in [(before, arguments.against), (now, ROOT)][:: 1 if turn % 2 else -1]:
                    rounds.append(rows_of(start, tree, [*options, "--communicators", str(size)]))
            for key in (key for key in now[0] if all(key in found for found in before + now)):
                rows.append(compared([found[key] for found in before], [found[key] for found in now]))
                table.print_line(shown(rows[-1]))
    if rows:
        mean = statistics.geometric_mean(row["before/now"] for row in rows)
        print(f"before/now, geometric mean of the rows: {mean:.2f}")
    if arguments.json:
        table.write_file(arguments.json, {"ranks": arguments.ranks * arguments.hosts, "rows": rows})
