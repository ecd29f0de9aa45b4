"""Models whose values every rank can compute for every other: from rank and step alone."""

import ml_dtypes
import numpy as np

DTYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)


def mixed(rank, step, size=700, large=100_000):
    """Return a nested model of all dtypes, shapes and layouts, with random values and random bits."""
    rng = np.random.default_rng([rank, step])
    bits = rng.integers(0, 1 << 16, size, dtype=np.uint16)
    wide = rng.standard_normal((2 * size, 3)).astype(np.float32)
    return {
        "plain": [rng.standard_normal(size).astype(dtype) for dtype in DTYPES],
        "bits": (bits.view(np.float16), bits.copy().view(ml_dtypes.bfloat16)),
        "strided": wide[::2, ::-1],
        "fortran": np.asfortranarray(rng.standard_normal((5, 7))),
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.array(rng.standard_normal(), np.float64),
        "one": rng.standard_normal(1).astype(np.float16),
        "large": rng.random(large, np.float32) - np.float32(0.5),  # a tenth of the time of normal ones
    }


def leaves(model):
    """Return the arrays of a model in the order of its containers."""
    if isinstance(model, dict):
        return [leaf for value in model.values() for leaf in leaves(value)]
    if isinstance(model, list | tuple):
        return [leaf for value in model for leaf in leaves(value)]
    return [model]


def accumulator(dtype):
    return np.float64 if dtype == np.float64 else np.float32


def total(parts):
    """Return the sum of some arrays in the order given."""
    result = parts[0]
    for part in parts[1:]:
        result = result + part
    return result


def group_mean(models):
    """Return numpy's sum in the order given, divided by the count, leaf by leaf: the reference."""
    return mean_over_hosts(models, [0] * len(models))


def mean_over_hosts(models, hosts):
    """Return the same for sums that are made within each host first; there are at most eight.

    Args:
        hosts: the host of each model.
    """
    result = []
    for parts in zip(*map(leaves, models), strict=True):
        dtype = parts[0].dtype
        kind = accumulator(dtype)
        with np.errstate(all="ignore"):
            wide = [part.astype(kind) for part in parts]
            by_host = [
                total([part for part, at in zip(wide, hosts, strict=True) if at == host])
                for host in sorted(set(hosts))
            ]
            result.append((total(by_host) / kind(len(parts))).astype(dtype))
    return result


def moved(model, average, before):
    """Return what overlap makes of a leaf: model + (average - before), in the type of sums."""
    kind = accumulator(model.dtype)
    with np.errstate(all="ignore"):
        difference = average.astype(kind) - before.astype(kind)
        return (model.astype(kind) + difference).astype(model.dtype)


def same_bits(model, expected):
    """Say whether all leaves have the same bits; any NaN equals any other."""
    for leaf, other in zip(leaves(model), expected, strict=True):
        if leaf.dtype != other.dtype or leaf.shape != other.shape:
            return False
        a, b = (np.ascontiguousarray(x).view(f"u{x.dtype.itemsize}") for x in (leaf, other))
        with np.errstate(all="ignore"):
            nan = np.isnan(leaf.astype(np.float64)) & np.isnan(other.astype(np.float64))
        if not np.all((a.reshape(nan.shape) == b.reshape(nan.shape)) | nan):
            return False
    return True
