"""What a run has reached, and when: the result of one run, as a dictionary that fits into a JSON file.

method, task, slow, ranks, seed, steps, rates, ...    what was asked for
points       [{"seconds", "step", "validation": [[loss, accuracy] of each lane], "test": the same}, ...]
report       what the method counts: waited (seconds of a rank), late (share of contributions), ...
step_times   seconds of each rank's steps without communication; of real runs
"""

import json
from pathlib import Path

import numpy as np

LOSS, ACCURACY = 0, 1


def point(learner, seconds, step, params):
    """Return what the mean model has reached."""
    return {
        "seconds": float(seconds),
        "step": float(step),
        "validation": learner.evaluate(params, learner.task.validation).tolist(),
        "test": learner.evaluate(params, learner.task.test).tolist(),
    }


def run(learner, ranks, points, report, **asked):
    """Return a run; `asked` is what the caller was asked for."""
    rates = learner.rates if learner else ()
    return asked | {"ranks": ranks, "rates": rates, "points": points, "report": report}


def save(path, runs):
    """Write runs to a file."""
    Path(path).write_text(json.dumps(runs))


def lane(runs):
    """Return the lane of the best learning rate: by the final loss on the validation set, the mean over runs.

    Args:
        runs: of several seeds, alike in everything else.
    """
    finals = np.array([run["points"][-1]["validation"] for run in runs])[..., LOSS]
    return int(np.where(np.isfinite(finals), finals, np.inf).mean(axis=0).argmin())


def final(run, lane):
    """Return the test accuracy at the end, in per cent."""
    return 100 * run["points"][-1]["test"][lane][ACCURACY]


def seconds(run):
    """Return the seconds that all steps took."""
    return run["points"][-1]["seconds"]


def seconds_to(run, lane, target):
    """Return after how many seconds the test accuracy reached a target (per cent), interpolated; or None."""
    before, reached = 0.0, None
    for point in run["points"]:
        accuracy = 100 * point["test"][lane][ACCURACY]
        if accuracy >= target:
            if reached is None:
                return point["seconds"]
            share = (target - reached) / (accuracy - reached)
            return before + share * (point["seconds"] - before)
        before, reached = point["seconds"], accuracy
    return None


def line(run):
    """Return one line that tells of a run."""
    report, last = run["report"], run["points"][-1]
    words = [
        f"{run['slow']:10} {run['method']:14} seed {run['seed']}: {run['steps']} steps in "
        f"{last['seconds']:.1f} s",
        f"waited {100 * report['waited']:.1f} %",
    ]
    if "late share" in report:
        words.append(f"late {report['late share']:.2f}")
    if run["rates"]:
        reached = zip(last["test"], run["rates"], strict=True)
        words.append(
            "accuracy " + " ".join(f"{100 * accuracy:.1f} ({rate:g})" for (_, accuracy), rate in reached)
        )
    return ", ".join(words)
