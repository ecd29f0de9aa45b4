"""Checkpoints on a disk: which are complete, which is the newest, which to delete."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Checkpoint(NamedTuple):
    """A complete checkpoint: the state, as a framework has written it, and what it is of."""

    folder: Path
    step: int
    network: dict[str, int]


class Checkpoints:
    """The checkpoints of a run, in checkpoints/step-NUMBER/ below its directory.

    A checkpoint is written under another name and then renamed, so what has its name is complete.
    """

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "checkpoints"

    def complete(self) -> list[Path]:
        """Return the folders of complete checkpoints, the newest last."""
        return sorted(self.folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))

    def newest(self) -> Checkpoint | None:
        """Return the newest complete checkpoint, or None if there is none."""
        if not (found := self.complete()):
            return None
        facts = json.loads((found[-1] / "facts.json").read_text())
        return Checkpoint(found[-1], facts["step"], facts["network"])

    def save(self, step: int, network: dict[str, int], write: Callable[[Path], None], keep: int) -> None:
        """Write a checkpoint, then delete all but the newest `keep`.

        Args:
            network: what tells networks apart whose states don't fit each other.
            write: writes the state into a folder.
        """
        final, unfinished = self.folder / f"step-{step}", self.folder / "unfinished"
        if final.exists():
            return
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        write(unfinished)
        (unfinished / "facts.json").write_text(json.dumps({"step": step, "network": network}))
        os.replace(unfinished, final)
        for old in self.complete()[:-keep]:
            shutil.rmtree(old)
