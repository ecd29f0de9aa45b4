"""Data and networks to train: handwritten digits, mnist1d, and the characters of Python's standard library.

No data is downloaded: scikit-learn and mnist1d bring theirs or compute it, the text lies beside Python. The
networks are small, since many ranks train them on few cores.
"""

import itertools
import math
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

VALIDATION, TEST = 0.15, 0.25  # of all samples
EVALUATED = 512  # sequences of the validation text, and as many of the test text


class Data(NamedTuple):
    """One part of a task's samples."""

    inputs: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.inputs)

    def batch(self, rows):
        """Return the samples of an array of rows, as a pair of arrays."""
        return self.inputs[rows], self.labels[rows]


class Task(NamedTuple):
    """What to train, and on what.

    Attributes:
        train, validation, test: the samples; learning rates are chosen by the validation set, and the test
            set is for the results alone.
        classes: of the labels of the training set, by which shards may differ; None: it is one text, and
            its shards are pieces.
        init: seed -> params, a pytree of float32 arrays.
        logits: (params, inputs) -> array [..., classes].
    """

    train: Data
    validation: Data
    test: Data
    classes: np.ndarray | None
    init: Callable
    logits: Callable

    def loss(self, params, batch):
        """Return the mean cross-entropy, nats."""
        return self.loss_and_accuracy(params, batch)[0]

    def loss_and_accuracy(self, params, batch):
        """Return the mean cross-entropy, and the share of labels that have the largest logit."""
        inputs, labels = batch
        logits = self.logits(params, inputs)
        chosen = jnp.take_along_axis(logits, labels[..., None], -1)[..., 0]
        loss = jnp.mean(jax.nn.logsumexp(logits, -1) - chosen)
        return loss, jnp.mean(jnp.argmax(logits, -1) == labels)


def split(inputs, labels):
    """Return (train, validation, test), drawn from all samples in the same way at every rank."""
    order = np.random.default_rng(0).permutation(len(inputs))
    cuts = np.cumsum([int(VALIDATION * len(order)), int(TEST * len(order))])
    validation, test, train = (Data(inputs[part], labels[part]) for part in np.split(order, cuts))
    return train, validation, test


def dense(random, inputs, outputs, scale=2.0):
    """Return a layer whose weights have the variance scale / inputs."""
    weights = random.standard_normal((inputs, outputs)) * math.sqrt(scale / inputs)
    return {"weights": weights.astype(np.float32), "bias": np.zeros(outputs, np.float32)}


def perceptron(sizes):
    """Return (init, logits) of a network of dense layers with rectifiers between."""

    def init(seed):
        random = np.random.default_rng(seed)
        return [dense(random, *ends) for ends in itertools.pairwise(sizes)]

    def logits(params, inputs):
        for layer in params[:-1]:
            inputs = jax.nn.relu(inputs @ layer["weights"] + layer["bias"])
        return inputs @ params[-1]["weights"] + params[-1]["bias"]

    return init, logits


def digits():
    """Return scikit-learn's 1,797 digits of 8 x 8 pixels, and a perceptron of 4,810 parameters."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    train, validation, test = split((images / 16).astype(np.float32), labels.astype(np.int32))
    return Task(train, validation, test, train.labels, *perceptron((64, 64, 10)))


def convolutional(points, channels, classes):
    """Return (init, logits) of three convolutions, 5 wide and with a stride of 2, and a dense layer."""

    def init(seed):
        random = np.random.default_rng(seed)
        layers = [dense(random, 5 * inputs, channels) for inputs in (1, channels, channels)]
        return [*layers, dense(random, points // 8 * channels, classes)]

    def logits(params, inputs):
        hidden = inputs[..., None]
        for layer in params[:-1]:
            ends = hidden.shape[-2]
            padded = jnp.pad(hidden, [(0, 0)] * (hidden.ndim - 2) + [(2, 2), (0, 0)])
            near = jnp.concatenate([padded[..., n : n + ends - 1 : 2, :] for n in range(5)], -1)
            hidden = jax.nn.relu(near @ layer["weights"] + layer["bias"])
        hidden = hidden.reshape(*hidden.shape[:-2], -1)
        return hidden @ params[-1]["weights"] + params[-1]["bias"]

    return init, logits


def mnist1d(network=None):
    """Return 20,000 signals of 40 points (Greydanus and Kobak, 2020), and a perceptron of 7,434 parameters.

    They take half a minute to compute, so they are kept in $XDG_CACHE_HOME or ~/.cache.
    """
    train, validation, test = split(*_signals(20_000))
    return Task(train, validation, test, train.labels, *(network or perceptron((40, 64, 64, 10))))


def mnist1d_cnn():
    """Return the same signals, and a convolutional network of 3,498 parameters."""
    return mnist1d(convolutional(40, 16, 10))


def _signals(samples):
    folder = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "wagma_rma"
    path = folder / f"mnist1d-{samples}.npz"
    if not path.exists():
        from mnist1d.data import get_dataset_args, make_dataset

        arguments = get_dataset_args()
        arguments.num_samples = samples
        made = make_dataset(arguments)
        inputs = np.concatenate([made["x"], made["x_test"]]).astype(np.float32)
        labels = np.concatenate([made["y"], made["y_test"]]).astype(np.int32)
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.npz")  # other ranks may make it at the same time
        np.savez(partial, inputs=inputs, labels=labels)
        partial.rename(path)
    with np.load(path) as kept:
        return kept["inputs"], kept["labels"]


def characters(context=32, width=48, heads=3):
    """Return the text of Python's standard library, and a transformer of one layer that predicts characters.

    A sample is a place in the text. Its inputs are `context` characters, its labels the characters that
    follow each of them.
    """
    library = sorted(pathlib.Path(os.__file__).parent.glob("*.py"))
    text = "".join(path.read_text(errors="ignore") for path in library[:60])
    codes = np.frombuffer(text.encode("ascii", "ignore"), np.uint8)
    alphabet, codes = np.unique(codes, return_inverse=True)
    windows = np.lib.stride_tricks.sliding_window_view(codes.astype(np.int32), context + 1)

    cuts = [len(windows) * 8 // 10, len(windows) * 9 // 10]
    train, validation, test = (Data(part[:, :-1], part[:, 1:]) for part in np.split(windows, cuts))
    chosen = np.random.default_rng(0).choice(min(len(validation), len(test)), EVALUATED, replace=False)
    validation, test = Data(*validation.batch(chosen)), Data(*test.batch(chosen))
    return Task(train, validation, test, None, *transformer(len(alphabet), context, width, heads))


def transformer(classes, context, width, heads):
    """Return (init, logits) of a transformer of one layer with learned places."""
    causal = np.tril(np.ones((context, context), bool))

    def init(seed):
        random = np.random.default_rng(seed)

        def table(rows):
            return (0.1 * random.standard_normal((rows, width))).astype(np.float32)

        return {
            "characters": table(classes),
            "places": table(context),
            "attention": dense(random, width, 3 * width, 1.0),
            "mix": dense(random, width, width, 0.25),
            "up": dense(random, width, 4 * width),
            "down": dense(random, 4 * width, width, 0.25),
            "out": dense(random, width, classes, 0.25),
        }

    def apply(layer, inputs):
        return inputs @ layer["weights"] + layer["bias"]

    def normalised(hidden):
        return hidden * jax.lax.rsqrt(jnp.mean(hidden**2, -1, keepdims=True) + 1e-6)

    def logits(params, inputs):
        hidden = params["characters"][inputs] + params["places"]
        parts = apply(params["attention"], normalised(hidden))
        query, key, value = jnp.split(parts.reshape(*parts.shape[:-1], heads, -1), 3, -1)
        scores = jnp.einsum("...ihd,...jhd->...hij", query, key) / math.sqrt(width / heads)
        weights = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), -1)
        seen = jnp.einsum("...hij,...jhd->...ihd", weights, value)
        hidden += apply(params["mix"], seen.reshape(hidden.shape))
        hidden += apply(params["down"], jax.nn.gelu(apply(params["up"], normalised(hidden))))
        return apply(params["out"], normalised(hidden))

    return init, logits


TASKS = {"digits": digits, "mnist1d": mnist1d, "mnist1d-cnn": mnist1d_cnn, "characters": characters}


def shards(task, ranks, seed=0, dirichlet=None):
    """Return the rows of the training set of each rank, a list of arrays.

    Args:
        dirichlet: None gives each rank a random part as large as any other. A number gives it shares of the
            classes that are drawn from a Dirichlet distribution: the smaller, the less alike are ranks.
    """
    random = np.random.default_rng([seed, 1])
    if task.classes is None:
        if dirichlet is not None:
            raise ValueError(f"dirichlet={dirichlet}: a text has no classes; leave it out")
        return np.array_split(np.arange(len(task.train)), ranks)
    if dirichlet is None:
        return np.array_split(random.permutation(len(task.train)), ranks)
    parts = [[] for _ in range(ranks)]
    for label in np.unique(task.classes):
        rows = random.permutation(np.flatnonzero(task.classes == label))
        cuts = np.cumsum(random.dirichlet(np.full(ranks, dirichlet))) * len(rows)
        for part, some in zip(parts, np.split(rows, cuts[:-1].astype(int)), strict=True):
            part.append(some)
    joined = [np.concatenate(part) for part in parts]
    # A rank without a sample would have nothing to train on.
    return [rows if len(rows) else random.integers(len(task.train), size=1) for rows in joined]
