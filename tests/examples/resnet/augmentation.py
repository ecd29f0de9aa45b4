"""Random crops and mirror images."""

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.uint8]  # height, width, channels
Box: TypeAlias = tuple[float, float, float, float]  # left, upper, right, lower, in pixels


def padded_crop(image: Pixels, random: np.random.Generator) -> Pixels:
    """Return an image that is moved by up to an eighth of its size; what comes from outside is zero."""
    height, width, _ = image.shape
    margin = max(1, height // 8)
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)))
    top, left = random.integers(2 * margin + 1, size=2)
    return padded[top : top + height, left : left + width]


def flipped(image: Pixels, random: np.random.Generator) -> Pixels:
    """Return an image, or as likely its mirror image."""
    return image[:, ::-1] if random.integers(2) else image


def random_box(size: tuple[int, int], random: np.random.Generator) -> Box:
    """Return a box of 8 to 100 % of an image's area, with sides of a ratio of 3:4 to 4:3, anywhere in it.

    Args:
        size: width and height of the image.
    """
    area = size[0] * size[1] * random.uniform(0.08, 1)
    ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
    width, height = min(size[0], math.sqrt(area * ratio)), min(size[1], math.sqrt(area / ratio))
    left, upper = random.uniform(0, size[0] - width), random.uniform(0, size[1] - height)
    # Pillow refuses a box that ends a rounding error outside.
    return left, upper, min(size[0], left + width), min(size[1], upper + height)


def central_box(size: tuple[int, int]) -> Box:
    """Return the box in the middle of an image with sides of 7/8 of its shorter side.

    Args:
        size: width and height of the image.
    """
    side = min(size) * 7 / 8
    left, upper = (size[0] - side) / 2, (size[1] - side) / 2
    return left, upper, left + side, upper + side
