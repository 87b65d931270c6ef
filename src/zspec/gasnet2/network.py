"""The one network of GaSNet-II, as classifier and as regressor (Zhong et al. 2024, Fig. 10b).

Six residual blocks, flatten, dropout, dense, dense. What is unusual in it:

- every block shortens the spectrum three times by a convolution without padding, so that 5001
  pixels become 1666, 554, 184, 60, 19 and 5, and the max-pool behind it keeps the length;
- the shortcut is a convolution of its own, and is added after the last relu and the pool;
- the input is the flux divided by its Euclidean norm (Eq. 2): about 0.014 a pixel, so that the
  first batch norm sees a variance near its epsilon unless that is small (``scale = "rms"``
  multiplies by sqrt(pixels), as the authors' code does);
- ``width`` scales all channels; 1 is the paper's;
- the 1-D convolutions run as 2-D ones of height 1, channels last: same numbers, but 1.4 times as
  fast on a CPU (benchmarks/gasnet2.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (16, 32, 64, 128, 256, 512)
"""Of the six blocks; Zhong et al. 2024, Fig. 10b."""
DENSE = 256
"""Units of the dense layer; same figure."""
KERNEL = 5
STRIDE = 3
PIXELS = 5001
"""4000 to 9000 Å in steps of 1 Å; their section 2.1."""
OUT_SD = 0.01
"""Of the last layer's start, where the recipe names none."""


@dataclass(frozen=True)
class NetworkSettings:
    """Shape and start of a network."""

    width: float = 1.0
    """Factor on all channels; 1 is the paper's."""
    dropout: float = 0.5
    """Share of the flattened features that is dropped in training."""
    scale: Literal["unit", "rms"] = "unit"
    """Norm of the input: 1 (paper, Eq. 2), or sqrt(pixels) (authors' code)."""
    start_sd: float = 0.0
    """Standard deviation of the Gaussian start of all weights; 0: sqrt(2 / inputs) (He+2015)."""
    bn_eps: float = 1e-5
    """Epsilon of batch norm (PyTorch's; Keras, and so the authors' code, has 1e-3)."""
    bn_momentum: float = 0.1
    """Share of the new in the running statistics (PyTorch's; Keras's 0.99 is 0.01 here)."""

    def __post_init__(self) -> None:
        """Refuse what makes no network. Raises ValueError."""
        if not 0 < self.width <= 4 or not 0 <= self.dropout < 1 or not self.start_sd >= 0:
            raise ValueError("width must be in (0, 4], dropout in [0, 1), start_sd >= 0")
        if not self.bn_eps > 0 or not 0 < self.bn_momentum <= 1:
            raise ValueError("bn_eps must be > 0 and bn_momentum in (0, 1]")


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own, so that a state can be stored and resumed."""

    def __init__(self, share: float, generator: torch.Generator) -> None:
        """``share`` is dropped."""
        super().__init__()
        self.share = share
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """Drop and rescale in training, and nothing else."""
        if not self.training or self.share == 0:
            return x
        drawn = torch.rand(x.shape, generator=self.generator, device=self.generator.device)
        keep = (drawn >= self.share).to(x.device, x.dtype)
        return x * keep / (1 - self.share)


class Block(nn.Module):
    """(n, channel_in, 1, wave) to (n, channel_out, 1, (wave - 5) // 3 + 1)."""

    def __init__(self, channels_in: int, channels: int, settings: NetworkSettings) -> None:
        """A block of ``channels``."""
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=settings.bn_eps, momentum=settings.bn_momentum)
        size, stride = (1, KERNEL), (1, STRIDE)
        self.first = nn.Conv2d(channels_in, channels, size, padding=(0, KERNEL // 2))
        self.first_norm = norm(channels)
        self.second = nn.Conv2d(channels, channels, size, stride=stride)
        self.second_norm = norm(channels)
        self.shortcut = nn.Conv2d(channels_in, channels, size, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        main = functional.relu(self.first_norm(self.first(x)))  # (n, out, 1, wave)
        main = functional.relu(self.second_norm(self.second(main)))  # (n, out, 1, wave // 3)
        main = functional.max_pool2d(main, (1, KERNEL), stride=1, padding=(0, KERNEL // 2))
        added: Tensor = main + self.shortcut(x)
        return added


class ResNet(nn.Module):
    """Logits of classes, or one redshift: (n, wave) normalised flux to (n, outputs)."""

    def __init__(
        self, outputs: int, settings: NetworkSettings, seed: int, device: str = "cpu"
    ) -> None:
        """Weights and dropout are drawn from ``seed`` alone, weights alike on all devices."""
        super().__init__()
        channels = [max(1, round(c * settings.width)) for c in CHANNELS]
        pairs = zip([1, *channels[:-1]], channels, strict=True)
        self.blocks = nn.ModuleList([Block(i, o, settings) for i, o in pairs])
        hidden = max(1, round(DENSE * settings.width))
        self.dropout = Dropout(settings.dropout, torch.Generator(device).manual_seed(seed))
        self.dense = nn.Linear(channels[-1] * flat_length(), hidden)
        self.out = nn.Linear(hidden, outputs)
        start(self, settings.start_sd, torch.Generator().manual_seed(seed))
        self.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        features = as_image(x)
        for block in self.blocks:
            features = block(features)
        flat = self.dropout(features.flatten(1))
        output: Tensor = self.out(functional.relu(self.dense(flat)))
        return output


def as_image(x: Tensor) -> Tensor:
    """(n, wave) as (n, 1, 1, wave), channels last."""
    return x[:, None, None].contiguous(memory_format=torch.channels_last)


def lengths(pixels: int = PIXELS) -> Iterator[int]:
    """Length behind each block. Raises ValueError for a spectrum that is too short."""
    for _ in CHANNELS:
        pixels = (pixels - KERNEL) // STRIDE + 1
        if pixels < 1:
            raise ValueError("the spectrum is too short for six blocks")
        yield pixels


def flat_length(pixels: int = PIXELS) -> int:
    """Length behind the last block."""
    return list(lengths(pixels))[-1]


def start(network: nn.Module, sd: float, generator: torch.Generator) -> None:
    """Draw all weights from a Gaussian, and set all biases to 0 (section 3.2).

    ``sd`` 0 stands for sqrt(2 / inputs), which keeps the signal's size through relu layers (He et
    al. 2015), and for ``OUT_SD`` in the last layer, so that training starts from equal classes and
    z = 0. The authors' 1e-3 shrinks the signal to 1e-8 on the way of the shortcuts.
    """
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            wanted = sd or (OUT_SD if name == "out" else (2 / module.weight[0].numel()) ** 0.5)
            nn.init.normal_(module.weight, 0.0, wanted, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def normalise(flux: Tensor, scale: Literal["unit", "rms"] = "unit") -> Tensor:
    """(n, wave) flux / sqrt(sum flux²) (Eq. 2), times sqrt(wave) for ``rms``; 0 stays 0."""
    norm = flux.norm(dim=1, keepdim=True).clamp_min(torch.finfo(flux.dtype).tiny)
    size = flux.shape[1] ** 0.5 if scale == "rms" else 1.0
    normalised: Tensor = flux / norm * size
    return normalised


def count(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
