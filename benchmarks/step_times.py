"""How long ranks compute before each step: the kinds of imbalance that benchmarks draw, or read from a file.

balanced     all ranks alike
two late     two ranks, others at each step, take 320 ms longer (WAGMA-SGD, Li et al., TPDS 2021, section 5)
half speed   one rank takes twice as long
log-normal   the logarithms of all times have a standard deviation of 0.5

A time depends on the kind, the seed, the call and the rank alone, so every method meets the same ones.
"""

import json
import math
from pathlib import Path

import numpy as np

from wagma_rma.planning.plan import alike

STEP = 0.1  # seconds of a step, the median if it is log-normal
LATE = 0.32  # seconds by which a straggler is late
SIGMA = 0.5  # of the logarithm of a step's time
JITTER = 0.02  # standard deviation of a step's time over the time


def balanced(ranks, random):
    return np.full(ranks, STEP)


def two_late(ranks, random):
    seconds = np.full(ranks, STEP)
    seconds[random.choice(ranks, 2, replace=False)] += LATE
    return seconds


def half_speed(ranks, random):
    seconds = np.full(ranks, STEP)
    seconds[ranks // 3] *= 2
    return seconds


def log_normal(ranks, random):
    return random.lognormal(math.log(STEP), SIGMA, ranks)


KINDS = {"balanced": balanced, "two late": two_late, "half speed": half_speed, "log-normal": log_normal}


def drawn(kind, ranks, call, seed=0, jitter=JITTER):
    """Return the seconds of each rank's call, an array of so many.

    Args:
        kind: a name of KINDS.
        call: the number of the step, as the rank counts its own.
        jitter: the standard deviation by which times vary that are not log-normal, over the time.
    """
    random = np.random.default_rng((seed, call))
    seconds = KINDS[kind](ranks, random)
    if kind != "log-normal":
        seconds *= 1 + jitter * random.standard_normal(ranks)
    return seconds


def table(kind, ranks, calls, seed=0, jitter=JITTER):
    """Return drawn() of the calls 1 to `calls`: an array [ranks, calls]."""
    return np.stack([drawn(kind, ranks, call + 1, seed, jitter) for call in range(calls)], axis=1)


def recorded(path, ranks):
    """Return the times of a file: an array [ranks, calls] of seconds.

    The file is JSON, of one run: [{"step_times": [[seconds of rank 0's calls], [of rank 1's], ...]}]. Ranks
    may have made different numbers of calls; a rank that needs more than it made begins again with its first.

    Raises:
        ValueError: the file has several runs, no times, or those of another number of ranks.
    """
    runs = json.loads(Path(path).read_text())
    if len(runs) != 1:
        raise ValueError(f"{path} has {len(runs)} runs; write one, of one method, kind of imbalance and seed")
    rows = runs[0].get("step_times")
    if not rows or not all(rows):
        raise ValueError(
            f"{path} has no step_times; write them with python -m benchmarks.learning --json FILE"
        )
    if len(rows) != ranks:
        raise ValueError(f"{path} has the step times of {len(rows)} ranks; run as many, not {ranks}")
    return alike(rows)
