"""The command line of the demo."""

import argparse
import os
from pathlib import Path
from typing import Literal, TypeAlias

from wagma_rma.bindings import choose_grouping

Mode: TypeAlias = Literal["wagma", "allreduce", "local"]

MODES: dict[Mode, str] = {
    "wagma": "groups average at every step without waiting for absent ranks, and all ranks average every "
    "--sync-period steps",
    "allreduce": "all ranks average at every step (sync_period=1)",
    "local": "ranks average only once, at the end (group_size=1, one synchronisation)",
}
COMMAND = "mpiexec -n 4 python -m jax_bindings.demo"
DESCRIPTION = "Train a network on handwritten digits while some ranks are slow now and then."
EPILOG = (
    "With slow ranks (quorum = 1), a rank waits for all others at synchronisations only, elsewhere no longer "
    "than an average takes; results vary a little from run to run. Without slow ranks (--slow-every 0) the "
    "same options give the same result, but with --elastic: "
    "groups then wait for all of their members (quorum = group size), because the order of arrival is "
    "chance. All ranks do the same number of steps, so a rank that is always the slowest holds up every "
    "synchronisation, unless it skips steps: try --slow-every 1 --slow-seconds 0.05, without --elastic and "
    "with it. The modes differ most when ranks are slow in turn (--slow-rank 0 1 2 3), or when there "
    "are more ranks than cores and the others can use the core of a rank that sleeps."
)


PICTURES = (".png", ".pdf", ".svg")
MOST = 100_000  # steps, and images in a batch: more take hours, or more memory than there is
LONGEST = 3600.0  # seconds
DEFAULT_PERIOD = 10
# Options that a mode sets itself.
IGNORED: dict[Mode, tuple[str, ...]] = {
    "wagma": (),
    "allreduce": ("group_size", "sync_period", "elastic"),
    "local": ("group_size", "sync_period", "elastic"),
}


class Arguments(argparse.Namespace):
    """What was asked for."""

    mode: Mode
    slow_rank: list[int]
    """The ranks that are slow now and then; none if they would be slow for no time."""
    slow_seconds: float
    slow_every: int
    steps: int
    batch_size: int
    group_size: int | None
    sync_period: int
    elastic: bool
    seed: int
    timeline: Path
    trace: Path
    """Beside the picture."""
    no_table: bool


def parse(arguments: list[str] | None, ranks: int) -> Arguments:
    """Parse the command line. Local; ends the program if it is wrong.

    Args:
        arguments: the words of it; None: those that the program was started with.
    """
    parser = argparse.ArgumentParser(
        prog="jax_bindings.demo",
        usage=f"{COMMAND} [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add = parser.add_argument
    modes = "; ".join(f"{mode}: {what}" for mode, what in MODES.items())
    add("--mode", choices=MODES, default="wagma", help=modes + " (%(default)s)")
    add("--slow-rank", type=int, nargs="+", metavar="RANK", help="the ranks that are slow now and then (1)")
    add(
        "--slow-seconds",
        type=float,
        default=0.3,
        metavar="S",
        help="how long a slow rank sleeps (%(default)s)",
    )
    add(
        "--slow-every",
        type=int,
        default=20,
        metavar="N",
        help="a slow rank sleeps at one step in so many, drawn from the seed; 0: never (%(default)s)",
    )
    add(
        "--steps",
        type=int,
        default=205,
        metavar="N",
        help="steps of training; a few more than a multiple of --sync-period, so that the models differ at "
        "the end (%(default)s)",
    )
    add("--batch-size", type=int, default=128, metavar="N", help="images per step and rank (%(default)s)")
    add("--group-size", type=int, metavar="N", help="ranks in a group (near the square root of all)")
    add(
        "--sync-period",
        type=int,
        metavar="N",
        help=f"steps from one synchronisation to the next ({DEFAULT_PERIOD})",
    )
    add(
        "--elastic",
        action="store_true",
        help="the first rank to do --sync-period steps calls all others to the synchronisation; each comes "
        "at its next step, and skips those in between (sync_quorum=1)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of data, start and slow steps (%(default)s)")
    add(
        "--timeline",
        type=Path,
        default=Path("wagma_timeline.png"),
        metavar="FILE",
        help=f"the file for the picture of the run, {', '.join(PICTURES)} (%(default)s); its trace goes "
        "beside it, as .json",
    )
    add("--no-table", action="store_true", help="show no progress while training")
    chosen = parser.parse_args(arguments, Arguments())
    _check(parser, chosen, ranks)
    return chosen


def greeting(ranks: int) -> str:
    """Return what to show before JAX has been imported."""
    if ranks > 1:
        return f"starting {ranks} ranks; each imports JAX and compiles its training step ..."
    return (
        "starting 1 rank, which has nobody to average with. Several ranks:\n"
        f"{COMMAND}\n"
        "It imports JAX and compiles its training step ..."
    )


def _check(parser: argparse.ArgumentParser, chosen: Arguments, ranks: int) -> None:
    """Check the values, and fill in what depends on the number of ranks."""
    for name in IGNORED[chosen.mode]:
        if getattr(chosen, name) not in (None, False):
            option = f"--{name.replace('_', '-')}"
            parser.error(f"--mode {chosen.mode} has no use for {option}; leave it out, or use --mode wagma")
    if chosen.sync_period is None:
        chosen.sync_period = DEFAULT_PERIOD
    if chosen.slow_rank is None:
        chosen.slow_rank = [1] if ranks > 1 else []
    values: dict[str, tuple[float, float, float]] = {
        "steps": (chosen.steps, 1, MOST),
        "batch-size": (chosen.batch_size, 1, MOST),
        "sync-period": (chosen.sync_period, 1, MOST),
        "slow-every": (chosen.slow_every, 0, MOST),
        "slow-seconds": (chosen.slow_seconds, 0, LONGEST),
        "seed": (chosen.seed, 0, 1 << 32),
    }
    for name, (value, least, most) in values.items():
        if not least <= value <= most:
            parser.error(f"--{name} must be between {least} and {most:.0f}")
    if not all(0 <= rank < ranks for rank in chosen.slow_rank):
        parser.error(f"--slow-rank must be between 0 and {ranks - 1}: there are {ranks} ranks")
    _check_picture(parser, chosen.timeline.absolute())
    chosen.trace = chosen.timeline.with_suffix(".json")
    try:
        choose_grouping(ranks, chosen.group_size)
    except (TypeError, ValueError) as error:
        parser.error(f"--group-size: {error}")
    if not (chosen.slow_every and chosen.slow_seconds):
        chosen.slow_rank = []


def _check_picture(parser: argparse.ArgumentParser, path: Path) -> None:
    """Check that the picture can be written when the run is over."""
    if path.suffix.lower() not in PICTURES:
        parser.error(f"--timeline: {path.name} does not end in {', '.join(PICTURES)}")
    if not path.parent.is_dir():
        parser.error(f"--timeline: there is no directory {path.parent}")
    if path.is_dir():
        parser.error(f"--timeline: {path} is a directory")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        parser.error(f"--timeline: {path} can't be written to")
