"""Metrics of one rank for Prometheus: OpenMetrics text, and files for node_exporter.

Names and labels are those of every metric below; each has the label `rank`. Counters begin with the averager.
Source of the format: the OpenMetrics 1.0 specification.
"""

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from wagma_rma.report import Statistics
from wagma_rma.seeing.ranks import RankStatus


class Measured(Protocol):
    """A GroupAverager, or an averager of a binding such as jax_bindings.PytreeAverager."""

    @property
    def statistics(self) -> Statistics:
        """The run of this rank so far."""
        ...

    @property
    def status(self) -> RankStatus:
        """This rank, as it sees itself."""
        ...


OUTCOMES = ("fresh", "late", "missed", "synchronized", "local")
# Counters of Statistics by name: the metric, its unit, and what it counts.
COUNTERS = {
    "initiated": ("initiated", "", "Group averages that this rank has started."),
    "unpublished": ("unpublished", "", "Group steps whose model could not be published."),
    "skipped": ("skipped_steps", "", "Steps left out to come to synchronisations."),
    "bytes_read": ("read_bytes", "bytes", "Bytes read from the models and sums of other ranks."),
    "bytes_over_network": ("network_bytes", "bytes", "Those of the bytes that came from other hosts."),
    "seconds": ("call_seconds", "seconds", "Seconds in calls, waiting included."),
    "seconds_waited": ("waited_seconds", "seconds", "Seconds of the calls in which this rank waited."),
}


def text(averager: Measured) -> str:
    """Return the metrics of this rank as OpenMetrics text, which ends in "# EOF".

    Args:
        averager: a GroupAverager or a PytreeAverager.

    Local.

    Example, on each of two ranks:
        >>> comm = MPI.COMM_WORLD
        >>> with GroupAverager(comm, np.zeros(3), group_size=2, quorum=2) as averager:
        ...     model = averager.average(np.zeros(3))
        ...     lines = metrics.text(averager).splitlines()
        >>> f'wagma_rma_steps_total{{rank="{comm.rank}",outcome="fresh"}} 1' in lines
        True
    """
    return "\n".join(_lines(averager.statistics, averager.status)) + "\n"


def write(averager: Measured, folder: str | os.PathLike[str], name: str = "wagma_rma") -> Path:
    """Write the metrics of this rank into a folder that node_exporter's textfile collector reads.

    The file is `<name>_<host>_<process id>.prom`; it is replaced as a whole. Whoever starts the job removes
    old ones.

    Args:
        averager: as of text().
        folder: that of `--collector.textfile.directory`.
        name: another one for each averager of a program.

    Returns:
        The file's path.

    Local.
    """
    path = Path(folder, f"{name}_{platform.node()}_{os.getpid()}.prom")
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text(averager))
    unfinished.replace(path)
    return path


def _lines(statistics: Statistics, status: RankStatus) -> Iterator[str]:
    rank = f'rank="{status.rank}"'
    yield from _family("steps", "counter", "", "Steps, by their outcome.")
    for outcome in OUTCOMES:
        yield f'wagma_rma_steps_total{{{rank},outcome="{outcome}"}} {getattr(statistics, outcome)}'
    for field, (name, unit, what) in COUNTERS.items():
        yield from _family(name, "counter", unit, what)
        yield f"wagma_rma_{name}_total{{{rank}}} {getattr(statistics, field)}"
    yield from _family("step", "gauge", "", "The last step.")
    yield f"wagma_rma_step{{{rank}}} {status.step}"
    yield from _family("late_ratio", "gauge", "ratio", "The share of late steps among the last hundred.")
    yield f"wagma_rma_late_ratio{{{rank}}} {status.late}"
    yield from _family("compute_mean_seconds", "gauge", "seconds", "Mean time between two calls.")
    yield f"wagma_rma_compute_mean_seconds{{{rank}}} {status.compute_mean}"
    yield from _family("compute_seconds", "summary", "seconds", "Times between the last 128 calls.")
    for quantile, value in (
        (0.5, status.compute_median),
        (0.9, status.compute_p90),
        (0.99, status.compute_p99),
    ):
        yield f'wagma_rma_compute_seconds{{{rank},quantile="{quantile}"}} {value}'
    yield "# EOF"


def _family(name: str, kind: str, unit: str, what: str) -> Iterator[str]:
    yield f"# TYPE wagma_rma_{name} {kind}"
    if unit:
        yield f"# UNIT wagma_rma_{name} {unit}"
    yield f"# HELP wagma_rma_{name} {what}"
