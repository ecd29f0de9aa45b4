"""ResNets in Flax."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}  # of each stage, by depth
CONVOLUTION = partial(
    nn.Conv, use_bias=False, kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal")
)


class Normalisation(nn.Module):
    """Batch normalisation."""

    is_last: bool = False
    """Whether it ends a block. Its scale begins at zero then, so that the block begins as the identity."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        scale = nn.initializers.zeros if self.is_last else nn.initializers.ones
        return nn.BatchNorm(momentum=0.9, epsilon=1e-5, scale_init=scale)(x, use_running_average=not train)


class Block(nn.Module):
    """Two convolutions of 3 x 3; or, as a bottleneck, one of 3 x 3 between two of 1 x 1. And a shortcut."""

    channels: int
    stride: int
    bottleneck: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        narrow, out = self.channels, self.channels * (4 if self.bottleneck else 1)
        # (channels, size, stride) of each convolution
        layers = [(narrow, 3, self.stride), (out, 3, 1)]
        if self.bottleneck:
            layers = [(narrow, 1, 1), (narrow, 3, self.stride), (out, 1, 1)]
        y = x
        for number, (channels, size, stride) in enumerate(layers, 1):
            is_last = number == len(layers)
            y = CONVOLUTION(channels, (size, size), stride, padding=size // 2)(y)
            y = Normalisation(is_last)(y, train)
            y = y if is_last else nn.relu(y)
        if x.shape != y.shape:
            x = CONVOLUTION(out, (1, 1), self.stride)(x)
            x = Normalisation()(x, train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A ResNet of 18 or 50 layers: from images[batch, height, width, channels] to logits[batch, classes]."""

    depth: int
    classes: int
    width: int = 64
    """Channels of the first stage."""
    small: bool = False
    """Whether images are too small for a stem that divides their size by four."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if self.small:
            x = CONVOLUTION(self.width, (3, 3), padding=1)(x)
        else:
            x = CONVOLUTION(self.width, (7, 7), 2, padding=3)(x)
        x = nn.relu(Normalisation()(x, train))
        if not self.small:
            x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for stage, blocks in enumerate(BLOCKS[self.depth]):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                x = Block(self.width * 2**stage, stride, self.depth == 50)(x, train)
        return nn.Dense(self.classes)(jnp.mean(x, (1, 2)))
