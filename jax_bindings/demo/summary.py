"""What came of a run of the demo, in text."""

from jax_bindings.demo.arguments import COMMAND, Arguments
from jax_bindings.demo.training import Run, averager_options
from wagma_rma.bindings import timeline

BACKENDS = {"ffi": "XLA's FFI, in place", "callback": "a host callback"}


def heading(chosen: Arguments, ranks: int) -> list[str]:
    """Return what was run, in short lines."""
    groups = f"groups of {averager_options(chosen, ranks)['group_size']}"
    how = {
        "wagma": f"{groups}; the first after {chosen.sync_period} steps calls all"
        if chosen.elastic
        else f"{groups}, all synchronised every {chosen.sync_period} steps",
        "allreduce": "all synchronised at every step",
        "local": "all synchronised at the end",
    }[chosen.mode]
    slow = "no rank slowed"
    if chosen.slow_rank:
        often = f"once in {chosen.slow_every} steps" if chosen.slow_every > 1 else "at each step"
        slow = f"slowed by {chosen.slow_seconds:g} s {often}: {_named(chosen.slow_rank)}"
    return [
        f"{chosen.mode}: {ranks} rank{'s' if ranks > 1 else ''}, {chosen.steps} steps; {how};",
        slow,
    ]


def _named(ranks: list[int]) -> str:
    """Return "ranks 0, 1, 2", or how many there are if they would fill a line."""
    names = ", ".join(map(str, ranks))
    if len(names) > 24:
        return f"{len(ranks)} ranks"
    return f"rank{'s' if len(ranks) > 1 else ''} {names}"


def caption(chosen: Arguments) -> str:
    """Return why ranks wait, for below the picture."""
    groups = "No rank is slow, so groups wait for all of their members."
    if chosen.slow_rank or chosen.elastic:
        groups = "For its group a rank waits about as long as an average takes, at most."
    together = (
        f"Every {chosen.sync_period} steps all ranks wait for the last of them (synchronize), "
        "so that no average holds an older model."
    )
    if chosen.elastic:
        together = (
            f"The first rank to do {chosen.sync_period} steps calls all others to synchronize: each comes at "
            "its next step, and skips those in between."
        )
    return {
        "wagma": f"{groups} {together}",
        "allreduce": "All ranks average at every step, so at every step all of them wait for the slowest.",
        "local": "The ranks train apart. Only at the end all of them wait for the last, and average.",
    }[chosen.mode]


def steps_of(chosen: Arguments, runs: list[Run]) -> list[list[timeline.Step]]:
    """Return the steps of each rank: those of the trace, with what the demo knows of them besides."""
    found = timeline.steps_of(chosen.trace)
    for run, steps in zip(runs, found, strict=True):
        # A long run's trace has the newest steps.
        slowed = run.slowed[-len(steps) :]
        if len(slowed) == len(run.slowed):
            steps[0] = steps[0]._replace(begin=run.began)
        steps[:] = [step._replace(slowed=seconds) for step, seconds in zip(steps, slowed, strict=True)]
    return found


def summary(chosen: Arguments, runs: list[Run], steps: list[list[timeline.Step]]) -> str:
    """Return the results of all ranks, in lines of at most 80 columns, and what to compare them with.

    Args:
        runs, steps: by rank.
    """
    skipped_by = [sum(step.skipped for step in of_rank) for of_rank in steps]
    skipped_title = "  skipped" if chosen.elastic else ""
    lines = [
        "",
        *heading(chosen, len(runs)),
        "",
        f"rank  accuracy   fresh    late  missed    sync{skipped_title}    waited  (at sync)",
    ]
    for rank, run in enumerate(runs):
        done = run.progress
        at = sum(step.waited for step in steps[rank] if step.outcome == "SYNCHRONIZED")
        skipped = f"  {skipped_by[rank]:7}" if chosen.elastic else ""
        lines.append(
            f"{rank:4}  {run.own_accuracy:8.4f}  {done.fresh:6}  {done.late:6}  {done.missed:6}"
            f"  {done.synchronized:6}{skipped}  {done.waited:6.2f} s  ({at:.2f} s)"
        )
    wall = max(of_rank[-1].end for of_rank in steps) - min(of_rank[0].begin for of_rank in steps)
    waited = sum(run.progress.waited for run in runs)
    told = f"{sum(skipped_by)} of {len(runs) * chosen.steps}"
    lines += [
        "",
        f"accuracy of the synchronised model  {runs[0].accuracy:.4f}",
        f"wall time                           {wall:.2f} s",
        f"waited by all ranks together        {waited:.2f} s",
        f"share of their time waited          {waited / (wall * len(runs)):.0%}",
        *([f"steps skipped by all ranks          {told}"] if chosen.elastic else []),
        f"averaged in the compiled step by    {BACKENDS[runs[0].backend]}",
        f"timeline                            {chosen.timeline}",
        f"trace, for ui.perfetto.dev          {chosen.trace}",
        "",
    ]
    if len(runs) == 1:
        lines += ["To see ranks average, start several:", COMMAND]
    elif chosen.elastic:
        lines += [
            "To compare: without --elastic nobody skips a step, so all wait for a rank that",
            "is behind, most of all for one that is always slow (--slow-every 1).",
        ]
    elif chosen.mode == "allreduce":
        lines.append("To compare: --mode wagma does the same without waiting at every step.")
    else:
        lines += [
            "To compare: --mode allreduce shows what waiting costs, most of all when ranks",
            "are slow in turn (in both modes --slow-rank with the numbers of all ranks).",
        ]
    return "\n".join(lines)
