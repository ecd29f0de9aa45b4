"""Where images come from: digits, synthetic ones, an npz file, or a folder of image files."""

from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from tests.examples.resnet import augmentation
from tests.examples.resnet.augmentation import Pixels

Floats: TypeAlias = npt.NDArray[np.float32]
Integers: TypeAlias = npt.NDArray[np.int32]

ARRAYS = ("x_train", "y_train", "x_test", "y_test")  # of an npz file
ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
# Of ImageNet's pixels, by channel, as everybody uses them.
IMAGENET_MEAN, IMAGENET_DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class Images(Protocol):
    """Labelled images of one shape."""

    labels: Integers
    shape: tuple[int, int, int]
    """Height, width, channels."""

    def read(self, index: int, random: np.random.Generator | None) -> Pixels:
        """Return an image of `shape`: a random crop of it, or without `random` always the same one."""


class Sets(NamedTuple):
    """The images to train on, and those to evaluate on."""

    train: Images
    validation: Images
    classes: int
    mean: Floats
    """Of pixels, by channel."""
    deviation: Floats
    """The standard deviation of pixels, by channel."""
    flips: bool
    """Whether the mirror image of a class's image is one of the same class."""


class ArrayImages:
    """Images in memory. A random crop is one of an image that has zeros around it; see padded_crop()."""

    def __init__(self, pixels: Pixels, labels: Integers) -> None:
        self.pixels, self.labels = pixels, labels
        height, width, channels = pixels.shape[1:]
        self.shape = (height, width, channels)

    def read(self, index: int, random: np.random.Generator | None) -> Pixels:
        image: Pixels = self.pixels[index]
        return image if random is None else augmentation.padded_crop(image, random)


class SyntheticImages:
    """Images that are made when they are read: a pattern of the class, and noise. They need no memory."""

    def __init__(self, count: int, size: int, classes: int, seed: int) -> None:
        self.labels = np.arange(count, dtype=np.int32) % classes
        self.shape = (size, size, 3)
        self._seed = seed
        patterns = np.random.default_rng(0).integers(64, 192, (classes, 4, 4, 3))
        nearest = np.arange(size) * 4 // size
        self._patterns = patterns[:, nearest][:, :, nearest]

    def read(self, index: int, random: np.random.Generator | None) -> Pixels:
        noise = np.random.default_rng([self._seed, index]).integers(-64, 64, self.shape)
        image = (self._patterns[self.labels[index]] + noise).astype(np.uint8)
        return image if random is None else augmentation.padded_crop(image, random)


class FolderImages:
    """Image files of any sizes, in a folder for each class. They are read by Pillow when they are needed."""

    def __init__(self, folder: Path, classes: list[str], size: int) -> None:
        files = [sorted(p for p in (folder / c).iterdir() if p.suffix.lower() in ENDINGS) for c in classes]
        self.paths = [str(path) for of_class in files for path in of_class]
        self.labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(paths) for paths in files])
        self.shape = (size, size, 3)

    def read(self, index: int, random: np.random.Generator | None) -> Pixels:
        from PIL import Image

        size = self.shape[0]
        with Image.open(self.paths[index]) as file:
            if random is None:
                box = augmentation.central_box(file.size)
            else:
                box = augmentation.random_box(file.size, random)
            return np.asarray(file.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box=box))


def open_sets(data: str, image_size: int | None = None) -> Sets:
    """Return the images that --data names.

    Args:
        data: "digits", "synthetic", or the path of an npz file or a folder.
        image_size: the height and width of synthetic images (None: 32), and of those that are cropped from
            files of a folder (None: 224). Images in arrays have the size that they have.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it does not hold what it should; says what.
    """
    if data == "digits":
        return digits()
    if data == "synthetic":
        return synthetic(image_size or 32)
    path = Path(data)
    if path.is_dir():
        return from_folder(path, image_size or 224)
    if not path.exists():
        raise FileNotFoundError(f"--data {data}: no such file or folder; or pass digits, or synthetic")
    return from_npz(path)


def digits() -> Sets:
    """Return scikit-learn's 1,797 handwritten digits of 8 x 8 pixels; a fifth is for validation."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))
    images = np.rint(pixels[order] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = labels[order].astype(np.int32)
    held = len(images) // 5
    return of_arrays(
        ArrayImages(images[held:], labels[held:]), ArrayImages(images[:held], labels[:held]), flips=False
    )


def synthetic(size: int, classes: int = 10) -> Sets:
    """Return 4,096 synthetic images to train on and 512 for validation."""
    train, validation = SyntheticImages(4096, size, classes, 1), SyntheticImages(512, size, classes, 2)
    return Sets(train, validation, classes, np.full(3, 128, np.float32), np.full(3, 50, np.float32), False)


def from_npz(path: Path) -> Sets:
    """Return the images of an npz file with the arrays x_train, y_train, x_test, y_test."""
    with np.load(path) as file:
        if missing := [name for name in ARRAYS if name not in file]:
            raise ValueError(f"--data {path} has no array {', '.join(missing)}; it needs {', '.join(ARRAYS)}")
        arrays = [file[name] for name in ARRAYS]
    for name, images, labels in zip(ARRAYS[::2], arrays[::2], arrays[1::2], strict=True):
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise ValueError(
                f"--data {path}: {name} is {images.dtype}{list(images.shape)}; pass uint8 images of the "
                "shape [count, height, width] or [count, height, width, channels]"
            )
        if labels.size != len(images):
            raise ValueError(f"--data {path}: {name} has {len(images)} images and {labels.size} labels")
    x_train, x_test = (images if images.ndim == 4 else images[..., None] for images in arrays[::2])
    y_train, y_test = (labels.reshape(-1).astype(np.int32) for labels in arrays[1::2])
    return of_arrays(ArrayImages(x_train, y_train), ArrayImages(x_test, y_test), flips=True)


def of_arrays(train: ArrayImages, validation: ArrayImages, flips: bool) -> Sets:
    """Return sets that are normalised by the pixels of the first."""
    some = train.pixels[:: max(1, len(train.pixels) // 4096)].astype(np.float32)
    mean, deviation = some.mean((0, 1, 2)), np.maximum(some.std((0, 1, 2)), 1)
    classes = 1 + int(max(train.labels.max(), validation.labels.max()))
    return Sets(train, validation, classes, mean, deviation, flips)


def from_folder(path: Path, size: int) -> Sets:
    """Return the images of train/CLASS/ and val/CLASS/; classes are numbered in alphabetic order."""
    for name in ("train", "val"):
        if not (path / name).is_dir():
            raise ValueError(f"--data {path} has no folder {name}; it needs train/CLASS/ and val/CLASS/")
    classes = sorted(folder.name for folder in (path / "train").iterdir() if folder.is_dir())
    known = sorted(folder.name for folder in (path / "val").iterdir() if folder.is_dir())
    if known != classes:
        differ = sorted(set(known) ^ set(classes))
        raise ValueError(f"--data {path}: the classes of train and val differ: only one has {differ[0]!r}")
    train, validation = (FolderImages(path / name, classes, size) for name in ("train", "val"))
    if not len(train.labels) or not len(validation.labels):
        raise ValueError(f"--data {path} has no images; their names end by {', '.join(sorted(ENDINGS))}")
    mean, deviation = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_DEVIATION, np.float32)
    return Sets(train, validation, len(classes), mean, deviation, True)
