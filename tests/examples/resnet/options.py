"""The command line, which the jobs in Flax and in PyTorch share."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# With fewer channels PyTorch's convolutions on a CPU write where they must not (2.13, with oneDNN).
LEAST_WIDTH = 8


@dataclass(frozen=True)
class Options:
    """What a job was asked to do; the help text of each option is in parse()."""

    data: str
    image_size: int | None
    directory: Path
    resume: str
    depth: int
    width: int
    steps: int
    batch_size: int
    rate: float | None
    warmup: int
    momentum: float
    weight_decay: float
    sync_period: int
    group_size: int | None
    elastic: bool
    evaluate_every: int
    checkpoint_every: int
    keep: int
    workers: int
    seed: int

    def peak_rate(self, ranks: int) -> float:
        """Return the highest learning rate: by default in proportion to the images of a step of all ranks."""
        return self.rate if self.rate is not None else 0.1 * self.batch_size * ranks / 256


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Return the options; a wrong one ends the program with a message and the exit code 2."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--data", default="digits", help="digits, synthetic, or the path of an npz file or of a folder")
    add("--image-size", type=int, help="of synthetic images (32), and of those cropped from files (224)")
    add("--directory", type=Path, default=Path("run"), help="for checkpoints and records")
    add(
        "--resume",
        choices=("auto", "never"),
        default="never",
        help="auto: from the newest checkpoint, if any",
    )
    add("--depth", type=int, choices=(18, 50), default=18, help="of the ResNet")
    add("--width", type=int, default=64, help="channels of its first stage, 8 or more")
    add("--steps", type=int, default=300, help="of the averager, at all of which a rank takes one batch")
    add("--batch-size", type=int, default=32, help="images of a rank in a step")
    add("--rate", type=float, help="highest learning rate (0.1 for each 256 images of a step of all ranks)")
    add("--warmup", type=int, default=50, help="steps until the highest learning rate")
    add("--momentum", type=float, default=0.9, help="of SGD, Nesterov's")
    add("--weight-decay", type=float, default=5e-5, help="of all weights but biases and normalisation")
    add("--sync-period", type=int, default=10, help="steps from one average of all ranks to the next")
    add("--group-size", type=int, help="ranks that average at other steps (near the root of their number)")
    add(
        "--elastic",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="ranks that are behind skip steps, so that nobody waits for them",
    )
    add("--evaluate-every", type=int, default=50, help="steps; a multiple of --sync-period")
    add("--checkpoint-every", type=int, default=100, help="steps; a multiple of --sync-period")
    add("--keep", type=int, default=2, help="how many checkpoints to keep")
    add("--workers", type=int, default=1, help="threads (Flax) or processes (PyTorch) that read images")
    add("--seed", type=int, default=0, help="of the first weights, the order of images, and their crops")
    chosen = Options(**vars(parser.parse_args(arguments)))
    if wrong := mistake(chosen):
        parser.error(wrong)
    return chosen


def mistake(chosen: Options) -> str | None:
    """Return what is wrong with the options, or None."""
    if chosen.width < LEAST_WIDTH:
        return f"--width {chosen.width} is below {LEAST_WIDTH}"
    for name in ("steps", "batch_size", "sync_period", "evaluate_every", "checkpoint_every", "keep"):
        if getattr(chosen, name) < 1:
            return f"{option(name)} {getattr(chosen, name)} is below 1"
    for name in ("warmup", "workers"):
        if getattr(chosen, name) < 0:
            return f"{option(name)} {getattr(chosen, name)} is below 0"
    # At these steps all ranks have the same model, and no rank skips them.
    for name in ("steps", "evaluate_every", "checkpoint_every"):
        value = getattr(chosen, name)
        if value % chosen.sync_period:
            higher = -(-value // chosen.sync_period) * chosen.sync_period
            return (
                f"{option(name)} {value} is not a multiple of --sync-period {chosen.sync_period}, and at "
                f"other steps the models of ranks differ; pass {option(name)} {higher}"
            )
    return None


def option(name: str) -> str:
    """Return an attribute's name as it stands on the command line."""
    return f"--{name.replace('_', '-')}"
