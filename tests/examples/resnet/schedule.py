"""The learning rate of each step."""

import math


def rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Return the learning rate at a step: linear up to `peak`, then along a cosine, and zero at the end.

    Args:
        step: the averager's, from 0; not a number of updates, which differs by rank where ranks skip steps.
        steps: the last one.
        peak: the highest rate, that of the step `warmup`.
        warmup: how many steps lead up to it.
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1, steps - warmup)
    return peak * (1 + math.cos(math.pi * min(1.0, share))) / 2
