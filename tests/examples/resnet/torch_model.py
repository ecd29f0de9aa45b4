"""ResNets in PyTorch."""

import torch
from torch import nn

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}  # of each stage, by depth


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution, with weights that keep the variance of gradients."""
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class Block(nn.Module):
    """Two convolutions of 3 x 3; or, as a bottleneck, one of 3 x 3 between two of 1 x 1. And a shortcut."""

    def __init__(self, inputs: int, channels: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = channels * (4 if bottleneck else 1)
        # (inputs, outputs, size, stride) of each convolution
        layers = [(inputs, channels, 3, stride), (channels, outputs, 3, 1)]
        if bottleneck:
            layers = [(inputs, channels, 1, 1), (channels, channels, 3, stride), (channels, outputs, 1, 1)]
        parts: list[nn.Module] = []
        for layer in layers:
            last = nn.BatchNorm2d(layer[1])
            parts += [convolution(*layer), last, nn.ReLU(inplace=True)]
        self.residual = nn.Sequential(*parts[:-1])
        nn.init.zeros_(last.weight)  # so that the block begins as the identity
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.shortcut(x) + self.residual(x))


class ResNet(nn.Sequential):
    """A ResNet of 18 or 50 layers: from images[batch, channels, height, width] to logits[batch, classes].

    Args:
        channels: of the images.
        width: channels of the first stage.
        small: whether images are too small for a stem that divides their size by four.
    """

    def __init__(
        self, depth: int, classes: int, channels: int = 3, width: int = 64, small: bool = False
    ) -> None:
        stem = convolution(channels, width, 3) if small else convolution(channels, width, 7, 2)
        layers: list[nn.Module] = [stem, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        if not small:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        inputs, bottleneck = width, depth == 50
        for stage, blocks in enumerate(BLOCKS[depth]):
            for block in range(blocks):
                outputs, stride = width * 2**stage, 2 if stage and not block else 1
                layers.append(Block(inputs, outputs, stride, bottleneck))
                inputs = outputs * (4 if bottleneck else 1)
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
