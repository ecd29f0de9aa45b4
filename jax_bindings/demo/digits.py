"""Handwritten digits and a small network for them: what the demo trains."""

from itertools import pairwise
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

Floats: TypeAlias = npt.NDArray[np.float32]
Integers: TypeAlias = npt.NDArray[np.int32]
Params: TypeAlias = list[dict[str, jax.Array | Floats]]

HIDDEN = 1024
CLASSES = 10


class Digits(NamedTuple):
    """One rank's shard of the training set, and the test set, which is the same at every rank."""

    images: Floats
    labels: Integers
    test_images: Floats
    test_labels: Integers


def load(seed: int, rank: int, ranks: int) -> Digits:
    """Return scikit-learn's 1,797 digits: a fifth is the test set, and each rank gets its part of the rest.

    Args:
        seed: of the order of the digits, the same at every rank.
    """
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    images = (images[order] / 16).astype(np.float32)  # 64 pixels of 0 to 16
    labels = labels[order].astype(np.int32)
    tests = len(images) // 5
    mine = slice(tests + rank, None, ranks)
    return Digits(images[mine], labels[mine], images[:tests], labels[:tests])


def init(seed: int) -> Params:
    """Return the weights of a network of two hidden layers, the same for the same seed."""
    random = np.random.default_rng([seed, 0, 3])
    sizes = (64, HIDDEN, HIDDEN, CLASSES)
    return [
        {
            "weights": random.standard_normal((inputs, outputs), np.float32)
            * np.float32((2 / inputs) ** 0.5),
            "bias": np.zeros(outputs, np.float32),
        }
        for inputs, outputs in pairwise(sizes)
    ]


def logits(params: Params, images: jax.Array | Floats) -> jax.Array:
    """Return a score for each class, [images, CLASSES]."""
    hidden = jnp.asarray(images)
    for layer in params[:-1]:
        hidden = jax.nn.relu(hidden @ layer["weights"] + layer["bias"])
    return hidden @ params[-1]["weights"] + params[-1]["bias"]


@jax.jit
def accuracy(params: Params, images: Floats, labels: Integers) -> jax.Array:
    """Return the share of images that get the right label."""
    return jnp.mean(logits(params, images).argmax(axis=1) == labels)
