"""What came of a run of the demo, in text."""

from jax_bindings.demo.arguments import Arguments
from jax_bindings.demo.training import Run, averager_options
from wagma_rma.bindings import Outcome

BACKENDS = {"ffi": "XLA's FFI, in place", "callback": "a host callback"}


def heading(chosen: Arguments, ranks: int) -> str:
    """Return in one line what was run."""
    how = {
        "wagma": f"groups of {averager_options(chosen, ranks)['group_size']}, all synchronised every "
        f"{chosen.sync_period} steps",
        "allreduce": "all synchronised at every step",
        "local": "all synchronised at the end",
    }[chosen.mode]
    slow = "no rank slowed"
    if chosen.slow_rank:
        names = ", ".join(map(str, chosen.slow_rank))
        slow = f"slowed by {chosen.slow_seconds:g} s once in {chosen.slow_every} steps: rank {names}"
    return f"{chosen.mode}: {ranks} ranks, {chosen.steps} steps; {how}; {slow}"


def summary(chosen: Arguments, runs: list[Run]) -> str:
    """Return the results of all ranks, and what to compare them with.

    Args:
        runs: by rank.
    """
    lines = [
        "",
        heading(chosen, len(runs)),
        "",
        "rank    own accuracy   fresh    late  missed    sync    waited  (at synchronisations)",
    ]
    for rank, run in enumerate(runs):
        done = run.progress
        at = sum(step.waited for step in run.steps if step.outcome is Outcome.SYNCHRONIZED)
        lines.append(
            f"{rank:4}    {run.own_accuracy:12.4f}  {done.fresh:6}  {done.late:6}  {done.missed:6}"
            f"  {done.synchronized:6}  {done.waited:6.2f} s  ({at:.2f} s)"
        )
    wall = max(run.steps[-1].end for run in runs) - min(run.steps[0].begin for run in runs)
    waited = sum(run.progress.waited for run in runs)
    lines += [
        "",
        f"accuracy of the synchronised model  {runs[0].accuracy:.4f}",
        f"wall time                           {wall:.2f} s",
        f"waited by all ranks together        {waited:.2f} s",
        f"averaged in the compiled step by    {BACKENDS[runs[0].backend]}",
        f"timeline                            {chosen.timeline}",
        "",
    ]
    if chosen.mode == "allreduce":
        lines.append("To compare: --mode wagma does the same without waiting at every step.")
    else:
        lines.append(
            "To compare: --mode allreduce shows what waiting costs, most of all when ranks are slow in turn"
        )
        lines.append(f"(in both modes --slow-rank {' '.join(map(str, range(len(runs))))}).")
    return "\n".join(lines)
