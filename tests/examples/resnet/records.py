"""The figures of a run, as JSON lines and for TensorBoard; rank 0 writes them."""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self

NAME = "records.jsonl"


class Records:
    """Writes records.jsonl and a folder tensorboard/ below a directory.

    A run that goes on from a checkpoint appends to both. What an earlier run recorded of later steps, and did
    not live to save, is dropped.

    Args:
        directory: it exists.
        start: the step that the run begins with.
    """

    def __init__(self, directory: Path, start: int) -> None:
        from tensorboardX import SummaryWriter

        path = directory / NAME
        kept = [line for line in lines(path) if json.loads(line)["step"] <= start]
        new = directory / f"new.{NAME}"
        new.write_text("".join(kept))
        os.replace(new, path)
        self._file = path.open("a")
        self._board = SummaryWriter(str(directory / "tensorboard"), purge_step=start + 1 if start else None)

    def write(self, step: int, kind: str, figures: dict[str, float]) -> None:
        """Write a record, at once: {"step": ..., "kind": ..., and the figures}."""
        self._file.write(json.dumps({"step": step, "kind": kind, **figures}) + "\n")
        self._file.flush()
        for name, value in figures.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()


def lines(path: Path) -> list[str]:
    """Return the whole lines of a file, if it exists. The last line of a killed run may be cut."""
    if not path.exists():
        return []
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
