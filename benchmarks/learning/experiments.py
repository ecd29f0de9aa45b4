"""The experiments in virtual time: one command each.

    python -m benchmarks.learning.experiments steps --out results [--seeds 3] [--processes 2]

steps         16 ranks, 400 steps: what each method reaches, and when
seconds       16 ranks, 60 virtual seconds: each method does as many steps as it can in them
seconds64     the same with 64 ranks, which learn from 4 samples a step; only random stragglers
seconds256    30 virtual seconds, 256 ranks, 2 samples a step, two late: four methods
shards        as `steps`, with shards that differ (Dirichlet 0.3)
adam          as `steps`, with Adam, fewer methods
characters    a few methods; a transformer on text with Adam, 8 ranks, 300 steps
cnn           a few methods; a convolutional network, 16 ranks, 300 steps
options       as `seconds`: WAGMA's options
options64     as `seconds64`: a few of them
overlap       as `seconds`, over a network that moves a model in 40 ms: exchanges that overlap with computing
overlap64     the same with 64 ranks
overlap-adam  the same with 16 ranks and Adam
overlap-fast  as `overlap`, over the network of `seconds`, which moves a model in 5 ms
periods       as `steps`: local SGD and DiLoCo with other periods and outer optimizers
quick         8 ranks, 60 steps, three methods: takes 10 seconds

Each run is kept in a file of its own in the folder, and what is there is not computed again. Then the tables
are printed (benchmarks.learning.tables), and `python -m benchmarks.learning.plot results/steps` draws
pictures.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import time
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from benchmarks import step_times

KINDS = tuple(step_times.KINDS)
SLOW = KINDS[1:]
MOMENTUM = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.55)
ADAM = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15)
RANDOM = ("two late", "log-normal")


def named(*methods):
    """Return methods without options."""
    return {name: {} for name in methods}


MAIN = named(
    "allreduce", "fastest", "local", "diloco", "d-psgd", "sgp", "ad-psgd", "eager-solo", "eager-majority",
    "wagma", "wagma-elastic", "wagma-half", "wagma-majority",
)  # fmt: skip
FEW = named(
    "allreduce", "fastest", "local", "ad-psgd", "wagma", "wagma-elastic", "wagma-half", "wagma-moments"
)
BUSY = {"fastest-busy": {"method": "fastest", "interrupt": False}}
USUAL = {
    "task": "mnist1d", "ranks": 16, "steps": 400, "batch_size": 16, "optimizer": "momentum",
    "rates": MOMENTUM, "kinds": KINDS, "methods": MAIN | BUSY, "dirichlet": None, "seconds": None,
    "costs": {},
}  # fmt: skip


def varied(**options):
    """Return WAGMA with some options, elastic unless they say otherwise."""
    return {"method": "wagma", "sync_quorum": 1, **options}


MANY = {"seconds": 60.0, "kinds": RANDOM, "ranks": 64, "batch_size": 4}
OVERLAP = {
    "seconds": 60.0, "kinds": ("balanced", *RANDOM), "costs": {"model": 0.04},
    "methods": named("allreduce", "ad-psgd", "wagma-elastic", "wagma-overlap") | {
        "overlap, moments": varied(overlap=True, moments=True),
        "overlap, quorum 3 of 4": varied(overlap=True, quorum=3),
    },
}  # fmt: skip
OVERLAP64 = named("allreduce", "ad-psgd", "wagma-elastic", "wagma-overlap") | {
    "overlap, moments": varied(overlap=True, moments=True),
    "overlap, quorum 5 of 8": varied(overlap=True, quorum=5),
}
EXPERIMENTS = {
    "steps": {},
    "seconds": {"seconds": 60.0, "kinds": SLOW},
    "seconds64": MANY,
    "seconds256": {
        "seconds": 30.0, "kinds": ("two late",), "ranks": 256, "batch_size": 2,
        "methods": named("allreduce", "fastest", "ad-psgd", "wagma-elastic"),
    },
    "shards": {"dirichlet": 0.3, "kinds": SLOW},
    "adam": {
        "optimizer": "adam", "rates": ADAM, "kinds": SLOW,
        "methods": FEW | named("sgp", "eager-majority"),
    },
    "characters": {
        "task": "characters", "ranks": 8, "steps": 300, "optimizer": "adam", "rates": ADAM[:5],
        "kinds": ("two late",), "methods": FEW,
    },
    "cnn": {
        "task": "mnist1d-cnn", "steps": 300, "kinds": ("two late",), "rates": MOMENTUM[1:6],
        "methods": FEW,
    },
    "options": {
        "seconds": 60.0, "kinds": SLOW,
        "methods": {
            "elastic": varied(),
            "quorum 3 of 4": varied(quorum=3),
            "groups of 2": varied(group_size=2),
            "groups of 8": varied(group_size=8),
            "period 5": varied(sync_period=5),
            "period 20": varied(sync_period=20),
            "sync_quorum 0.25": varied(sync_quorum=0.25),
            "sync_quorum 0.5": varied(sync_quorum=0.5),
            "moments": varied(moments=True),
            "not elastic": varied(sync_quorum=None),
        },
    },
    "options64": {
        **MANY,
        "methods": {
            "period 20": varied(sync_period=20),
            "moments": varied(moments=True),
            "period 20, moments": varied(sync_period=20, moments=True),
            "period 20, quorum 5 of 8": varied(sync_period=20, quorum=5),
        },
    },
    "overlap": OVERLAP,
    "overlap64": OVERLAP | {"ranks": 64, "batch_size": 4, "methods": OVERLAP64},
    "overlap-adam": OVERLAP | {"optimizer": "adam", "rates": ADAM},
    "overlap-fast": OVERLAP | {"costs": {}},
    "periods": {
        "kinds": ("two late",),
        "methods": {
            "local, 5": {"method": "local", "period": 5},
            "local, 20": {"method": "local", "period": 20},
            "diloco, 5": {"method": "diloco", "period": 5},
            "diloco, 5, 0.5": {"method": "diloco", "period": 5, "outer_momentum": 0.5},
            "diloco, 10, 0.5": {"method": "diloco", "outer_momentum": 0.5},
            "diloco, 20, 0.5": {"method": "diloco", "period": 20, "outer_momentum": 0.5},
            "diloco, 10, 0.2": {"method": "diloco", "outer_rate": 1.0, "outer_momentum": 0.2},
        },
    },
    "quick": {
        "task": "digits", "ranks": 8, "steps": 60, "rates": (0.1, 0.2, 0.4), "kinds": ("two late",),
        "methods": named("allreduce", "ad-psgd", "wagma-elastic"),
    },
}  # fmt: skip


def jobs(name, seeds):
    """Yield what each run of an experiment needs."""
    experiment = USUAL | EXPERIMENTS[name]
    for seed, slow, label in itertools.product(range(seeds), experiment["kinds"], experiment["methods"]):
        yield {key: value for key, value in experiment.items() if key not in ("kinds", "methods")} | {
            "label": label, "slow": slow, "seed": seed, "options": experiment["methods"][label],
        }  # fmt: skip


def run(job):
    """Return the run of a job."""
    from benchmarks.learning.virtual.training import learner_of, steps_within, train
    from wagma_rma.planning.costs import Costs

    learner = learner_of(job["task"], job["optimizer"], job["rates"])
    options = dict(job["options"])
    name = options.pop("method", job["label"])
    costs = Costs(**job["costs"])
    times = step_times.table(job["slow"], job["ranks"], 4 * job["steps"], job["seed"])
    steps = job["steps"]
    if job["seconds"]:
        steps = steps_within(job["seconds"], name, times, costs, **options)
    made = train(
        learner, name, times, steps, costs, seed=job["seed"], batch_size=job["batch_size"],
        dirichlet=job["dirichlet"], **options,
    )  # fmt: skip
    return made | {
        "method": job["label"],
        "slow": job["slow"],
        "task": job["task"],
        "optimizer": job["optimizer"],
    }


def perform(work):
    """Perform one job and keep its run in a file."""
    path, job = work
    began = time.monotonic()
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(run(job)))
    partial.rename(path)
    return f"{path.stem}: {time.monotonic() - began:.0f} s"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", nargs="+", choices=EXPERIMENTS)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    chosen = parser.parse_args(arguments)
    from benchmarks.learning import tables

    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
        for name in chosen.experiment:
            folder = chosen.out / name
            folder.mkdir(parents=True, exist_ok=True)
            paths = [
                (folder / f"{job['slow']}-{job['label']}-{job['seed']}.json", job)
                for job in jobs(name, chosen.seeds)
            ]
            began = time.monotonic()
            missing = [work for work in paths if not work[0].exists()]
            for n, done in enumerate(pool.imap_unordered(perform, missing)):
                print(f"{n + 1} of {len(missing)}, {time.monotonic() - began:.0f} s: {done}", flush=True)
            print(tables.text(tables.read(*[path for path, _ in paths])), flush=True)


if __name__ == "__main__":
    main()
