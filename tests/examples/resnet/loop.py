"""The loop of a job, whatever its framework: train, evaluate, save, stop.

All ranks have the same model after a synchronisation. With --elastic a rank may skip any other step, so all
that ranks do together stands there: sums of figures, evaluation, the decision to save and to stop.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI
from tqdm import tqdm

from tests.examples.resnet import schedule
from tests.examples.resnet.data import Key, Samples
from tests.examples.resnet.options import Options
from tests.examples.resnet.records import Records
from tests.examples.resnet.stop import Stop
from wagma_rma import Outcome


class Job(Protocol):
    """A network, its optimizer and its averager in some framework, on one rank."""

    averager: Any
    """A GroupAverager or a PytreeAverager."""

    def load(self, samples: Samples, batches: Iterable[list[Key]]) -> Iterable[tuple[Any, Any]]:
        """Return an iterable of batches, which update() and evaluate() take."""

    def update(self, images: Any, labels: Any, rate: float) -> float:
        """Perform one update of the optimizer and one step of the averager; return the loss of the batch."""

    def evaluate(self, images: Any, labels: Any) -> tuple[float, int]:
        """Return the sum of the losses of a batch, and how many images the network has classified rightly."""

    def save(self, folder: Path) -> None:
        """Write the network's and the optimizer's state."""


class Loop:
    """The loop on one rank.

    Args:
        comm: all ranks.
        validation: this rank's batches of the validation set.
        records: at rank 0; None elsewhere.
        save: saves a checkpoint of a step; called at rank 0.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        chosen: Options,
        job: Job,
        validation: Iterable[tuple[Any, Any]],
        records: Records | None,
        save: Callable[[int], None],
        stop: Stop,
    ) -> None:
        self._comm, self._chosen, self._job, self._stop = comm, chosen, job, stop
        self._validation, self._records, self._save = validation, records, save
        self._peak = chosen.peak_rate(comm.size)

    def run(self, batches: Iterable[tuple[Any, Any]]) -> bool:
        """Train until the last step or a request to stop; return whether that step is done. Collective."""
        averager, chosen = self._job.averager, self._chosen
        if averager.step >= chosen.steps:
            return True
        source = iter(batches)
        batch = next(source)  # the first one takes long, since workers start
        self._comm.Barrier()
        with tqdm(
            total=chosen.steps, initial=averager.step, unit="step", disable=self._comm.rank != 0
        ) as self._bar:
            self._begin_period()
            while True:
                rate = schedule.rate(averager.step, chosen.steps, self._peak, chosen.warmup)
                self._loss += self._job.update(*batch, rate)
                self._updates += 1
                self._bar.update(averager.step - self._bar.n)
                if averager.report.outcome is Outcome.SYNCHRONIZED and self._end_period(rate):
                    return bool(averager.step >= chosen.steps)
                batch = next(source)

    def _begin_period(self) -> None:
        """Begin to count what happens in a period: from one synchronisation to the next."""
        self._loss, self._updates = 0.0, 0
        self._statistics = self._job.averager.statistics
        self._began = time.monotonic()

    def _end_period(self, rate: float) -> bool:
        """Do what is due after a synchronisation; return whether the loop ends. Collective."""
        chosen, step = self._chosen, self._job.averager.step
        asked = self._record_training(step, rate)
        is_last = step >= chosen.steps or asked
        if is_last or step % chosen.evaluate_every == 0:
            self._evaluate(step)
        self._begin_period()  # rank 0 trains less in the next period if it saves
        if self._comm.rank == 0 and (is_last or step % chosen.checkpoint_every == 0):
            self._save(step)
        return is_last

    def _record_training(self, step: int, rate: float) -> bool:
        """Record what all ranks have done in the period; return whether any of them is asked to stop."""
        seconds = time.monotonic() - self._began
        sums, before = self._job.averager.statistics, self._statistics
        loss, updates, skipped, waited, asked = self._summed(
            self._loss,
            self._updates,
            sums.skipped - before.skipped,
            sums.seconds_waited - before.seconds_waited,
            self._stop.requested,
        )
        self._write(
            step,
            "training",
            {
                "loss": loss / updates,
                "rate": rate,
                "images_per_second": updates * self._chosen.batch_size / seconds,
                "skipped": skipped,
                "waited": waited / (seconds * self._comm.size),
            },
        )
        return asked > 0

    def _evaluate(self, step: int) -> None:
        """Evaluate the synchronised model, each rank on its part of the validation set. Collective."""
        began = time.monotonic()
        found = [(*self._job.evaluate(images, labels), len(labels)) for images, labels in self._validation]
        loss, right, images = self._summed(*np.sum([(0.0, 0, 0), *found], axis=0))
        figures = {"loss": loss / images, "accuracy": right / images, "seconds": time.monotonic() - began}
        self._write(step, "validation", figures)
        self._bar.set_postfix(loss=f"{figures['loss']:.3f}", accuracy=f"{figures['accuracy']:.4f}")

    def _summed(self, *numbers: float) -> list[float]:
        """Return the sums of numbers over all ranks."""
        sums = np.array(numbers, np.float64)
        self._comm.Allreduce(MPI.IN_PLACE, sums)
        return [float(number) for number in sums]

    def _write(self, step: int, kind: str, figures: dict[str, float]) -> None:
        if self._records is not None:
            self._records.write(step, kind, figures)
