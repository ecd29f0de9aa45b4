"""The start of a job, whatever its framework: the images, the checkpoint to go on from, and then the loop."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from typing import TypeAlias, TypeVar

from mpi4py import MPI

from tests.examples.resnet.checkpoints import Checkpoint, Checkpoints
from tests.examples.resnet.data import Samples, training_keys, validation_keys
from tests.examples.resnet.loop import Job, Loop
from tests.examples.resnet.options import Options
from tests.examples.resnet.records import Records
from tests.examples.resnet.sources import Sets, open_sets
from tests.examples.resnet.stop import EXIT_CODE, Stop, start_deaf_helpers
from wagma_rma.bindings import AveragerOptions, Facts, agree

MakeJob: TypeAlias = Callable[[MPI.Intracomm, Options, Sets, Checkpoint | None], Job]
T = TypeVar("T")

SMALL = 64  # pixels: larger images have ImageNet's stem, which divides their size by four


def run(comm: MPI.Intracomm, chosen: Options, make: MakeJob) -> int:
    """Train as the options say; return the exit code of the program. Collective.

    Args:
        make: makes the job of a framework, on this rank.
    """
    start_deaf_helpers()
    with Stop() as stop:  # before all else, so that a request during the start counts too
        return _run(comm, chosen, make, stop)


def _run(comm: MPI.Intracomm, chosen: Options, make: MakeJob, stop: Stop) -> int:
    sets = open_same(comm, chosen)
    network, checkpoints = network_of(chosen, sets), Checkpoints(chosen.directory)
    found = comm.bcast(at_rank_0(comm, partial(to_go_on_from, checkpoints, chosen, network)))
    start = found.step if found else 0
    images, held = len(sets.train.labels), len(sets.validation.labels)
    batches = training_keys(images, chosen.batch_size, chosen.seed, comm.rank, comm.size, start)

    job = make(comm, chosen, sets, found)

    def save(step: int) -> None:
        checkpoints.save(step, network, job.save, chosen.keep)

    is_first = comm.rank == 0
    with (
        job.averager,
        Records(chosen.directory, start) if is_first else nullcontext() as records,
    ):
        training = job.load(Samples(sets, train=True, seed=chosen.seed), batches)
        validation = job.load(
            Samples(sets, train=False), validation_keys(held, chosen.batch_size, comm.rank, comm.size)
        )
        is_done = Loop(comm, chosen, job, validation, records, save, stop).run(training)
    if is_first:
        print(f"{'done' if is_done else 'stopped'} after step {job.averager.step}; see {chosen.directory}")
    return 0 if is_done else EXIT_CODE


def network_of(chosen: Options, sets: Sets) -> dict[str, int]:
    """Return what makes a network; a state fits no network of which any of this is different."""
    size, _, channels = sets.train.shape
    return {
        "depth": chosen.depth,
        "width": chosen.width,
        "classes": sets.classes,
        "channels": channels,
        "small": int(size <= SMALL),
    }


def averager_options(chosen: Options, found: Checkpoint | None) -> AveragerOptions:
    """Return the averager's options. It sends the model of rank 0, which has read the checkpoint, to all."""
    return {
        "group_size": chosen.group_size,
        "sync_period": chosen.sync_period,
        "sync_quorum": 1 if chosen.elastic else None,
        "start_step": found.step if found else 0,
    }


def open_same(comm: MPI.Intracomm, chosen: Options) -> Sets:
    """Return the images. Collective.

    Raises (on every rank): what one rank has found wrong, such as a folder that its host does not have; or
    ranks have other options or images.
    """
    found: Facts | Exception
    try:
        sets = open_sets(chosen.data, chosen.image_size)
        images = [len(sets.train.labels), len(sets.validation.labels), *sets.train.shape]
        found = {**asdict(chosen), "--data": images}
    except Exception as error:
        found = error
    agree(comm, "resnet", found)
    return sets


def at_rank_0(comm: MPI.Intracomm, function: Callable[[], T]) -> T | None:
    """Return what a function returns at rank 0, where alone it is called; an error is raised on all ranks."""
    result: T | None = None
    found: Facts | Exception = {}
    if comm.rank == 0:
        try:
            result = function()
        except Exception as error:
            found = error
    agree(comm, "resnet", found)
    return result


def to_go_on_from(checkpoints: Checkpoints, chosen: Options, network: dict[str, int]) -> Checkpoint | None:
    """Return the newest checkpoint if the job is to go on from it.

    Raises:
        ValueError: it is of another network, or there is one although the job is to begin anew.
    """
    chosen.directory.mkdir(parents=True, exist_ok=True)
    if not (found := checkpoints.newest()):
        return None
    if chosen.resume == "never":
        raise ValueError(
            f"{chosen.directory} has a checkpoint of step {found.step}; pass --resume auto to go on from it, "
            "or another --directory"
        )
    if found.network != network:
        raise ValueError(
            f"{found.folder} is of the network {found.network}, and the options ask for {network}; pass the "
            "options that it was made with, or another --directory"
        )
    return found
