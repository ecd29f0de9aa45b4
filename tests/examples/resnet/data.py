"""Normalised samples, which of them are a rank's, and in which order; a loader that reads them ahead."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from typing import TypeAlias

import numpy as np

from tests.examples.resnet import augmentation
from tests.examples.resnet.sources import Floats, Images, Integers, Sets

Key: TypeAlias = tuple[int, int]  # the epoch and the index of an image
Batch: TypeAlias = tuple[Floats, Integers]  # images[batch, height, width, channels], labels[batch]


class Samples:
    """Images as a network gets them, by key. It can be pickled, for the workers of a data loader.

    Args:
        sets: where images come from.
        train: the training set, at random a crop and a mirror image; or the validation set as it is.
        seed: of the crops. The same key gives the same sample, in any process.
    """

    def __init__(self, sets: Sets, train: bool, seed: int = 0) -> None:
        self.images: Images = sets.train if train else sets.validation
        self._mean, self._scale = sets.mean, 1 / sets.deviation
        self._train, self._flips, self._seed = train, sets.flips, seed

    def __len__(self) -> int:
        return len(self.images.labels)

    def __getitem__(self, key: Key) -> tuple[Floats, np.int32]:
        epoch, index = key
        random = np.random.default_rng([self._seed, epoch, index]) if self._train else None
        image = self.images.read(index, random)
        if random is not None and self._flips:
            image = augmentation.flipped(image, random)
        normalised: Floats = (image - self._mean) * self._scale
        return normalised, self.images.labels[index]


def training_keys(
    images: int, batch_size: int, seed: int, rank: int, ranks: int, start: int = 0
) -> Iterator[list[Key]]:
    """Yield the keys of a rank's batches without an end.

    In each epoch all images are shuffled, the same way at every rank, and dealt to the ranks in turn. Each
    rank has equally many full batches in an epoch; the few images that are left have no part in it.

    Args:
        images: how many there are.
        batch_size: of one rank.
        start: how many batches of this rank to leave out.

    Raises:
        ValueError: there are not enough images for a batch at every rank.
    """
    batches = images // (batch_size * ranks)
    if not batches:
        raise ValueError(
            f"--batch-size {batch_size} at each of {ranks} ranks needs {batch_size * ranks} images, and the "
            f"training set has {images}; pass --batch-size {images // ranks} or less"
        )
    return _training_keys(images, batches, batch_size, seed, rank, ranks, start)


def _training_keys(
    images: int, batches: int, batch_size: int, seed: int, rank: int, ranks: int, start: int
) -> Iterator[list[Key]]:
    first, left_out = divmod(start, batches)
    for epoch in count(first):
        mine = np.random.default_rng([seed, epoch]).permutation(images)[rank::ranks]
        for batch in range(left_out, batches):
            yield [(epoch, int(index)) for index in mine[batch * batch_size : (batch + 1) * batch_size]]
        left_out = 0


def validation_keys(images: int, batch_size: int, rank: int, ranks: int) -> list[list[Key]]:
    """Return the keys of a rank's batches of the validation set; the last batch may be smaller."""
    mine = range(rank, images, ranks)
    return [
        [(0, index) for index in mine[begin : begin + batch_size]]
        for begin in range(0, len(mine), batch_size)
    ]


class Loader:
    """An iterable of batches, in order. Each of some threads reads one, ahead of its use."""

    def __init__(self, samples: Samples, batches: Iterable[list[Key]], threads: int) -> None:
        self._samples, self._batches, self._threads = samples, batches, max(1, threads)

    def __iter__(self) -> Iterator[Batch]:
        keys = iter(self._batches)
        pool = ThreadPoolExecutor(self._threads)
        try:
            ahead = deque(
                pool.submit(read, self._samples, batch) for batch in islice(keys, 2 * self._threads)
            )
            while ahead:
                batch = ahead.popleft().result()
                ahead.extend(pool.submit(read, self._samples, following) for following in islice(keys, 1))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def read(samples: Samples, keys: list[Key]) -> Batch:
    """Return the batch of these keys."""
    images, labels = zip(*(samples[key] for key in keys), strict=True)
    return np.stack(images), np.array(labels)
