"""Trained networks as they predict: batch norm folded into the convolutions, in small batches.

On a CPU the members of an ensemble run one after the other, in batches small enough that the
first block's features stay in the cache; channels last. Measured by benchmarks/gasnet2.py, which
names what was slower: large batches, vmap and grouped convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from zspec.gasnet2.network import CHANNELS, KERNEL, STRIDE, Block, ResNet, as_image

Weights = Mapping[str, Tensor]
"""Name to tensor: ``0.first.weight`` ... ``5.shortcut.bias``, ``dense.*``, ``out.*``."""
Precision = Literal["float32", "bfloat16"]

BATCH = {("cpu", "float32"): 16, ("cpu", "bfloat16"): 64}
"""Fastest batches on a CPU by precision (benchmarks/gasnet2.py)."""
GPU_BATCH = 1024
"""A GPU is filled by this many spectra: 330 MB of features in the first block."""


@torch.no_grad()
def fold(network: ResNet) -> dict[str, Tensor]:
    """The weights of a trained network without its batch norms, float32 on the CPU."""
    made: dict[str, Tensor] = {}
    for number, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        for name in ("first", "second"):
            weight, bias = _folded(getattr(block, name), getattr(block, f"{name}_norm"))
            made[f"{number}.{name}.weight"], made[f"{number}.{name}.bias"] = weight, bias
        made[f"{number}.shortcut.weight"] = block.shortcut.weight
        made[f"{number}.shortcut.bias"] = _bias(block.shortcut)
    for name, dense in (("dense", network.dense), ("out", network.out)):
        made[f"{name}.weight"], made[f"{name}.bias"] = dense.weight, dense.bias
    return {name: value.detach().cpu().clone() for name, value in made.items()}


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that does both."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None  # batch norm keeps them by default
    assert variance is not None
    factor = norm.weight / (variance + norm.eps).sqrt()
    weight = convolution.weight * factor[:, None, None, None]
    return weight, (_bias(convolution) - mean) * factor + norm.bias


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None  # all of ours have one
    return convolution.bias


def place(weights: Weights, device: str, precision: Precision = "float32") -> dict[str, Tensor]:
    """The weights where and as they compute."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    placed = {}
    for name, value in weights.items():
        moved = value.to(device=device, dtype=dtype)
        image = moved.dim() == 4
        placed[name] = moved.contiguous(memory_format=torch.channels_last) if image else moved
    return placed


def run(weights: Weights, x: Tensor) -> Tensor:
    """(n, wave) normalised flux to (n, outputs) float32, on the device of the weights."""
    features = as_image(x.to(weights["dense.weight"].dtype))
    for number in range(len(CHANNELS)):
        features = _block(weights, number, features)
    hidden = functional.linear(features.flatten(1), weights["dense.weight"], weights["dense.bias"])
    out = functional.linear(hidden.relu_(), weights["out.weight"], weights["out.bias"])
    return out.float()


def _block(weights: Weights, number: int, x: Tensor) -> Tensor:
    """One block without batch norms; see :class:`zspec.gasnet2.network.Block`."""
    half, stride = (0, KERNEL // 2), (1, STRIDE)
    first, second, shortcut = (
        (weights[f"{number}.{name}.weight"], weights[f"{number}.{name}.bias"])
        for name in ("first", "second", "shortcut")
    )
    main = functional.conv2d(x, *first, padding=half).relu_()
    main = functional.conv2d(main, *second, stride=stride).relu_()
    main = functional.max_pool2d(main, (1, KERNEL), stride=1, padding=half)
    return functional.conv2d(x, *shortcut, stride=stride).add_(main)


def run_all(weights: list[dict[str, Tensor]], x: Tensor) -> Tensor:
    """(network, n, outputs) of several networks for (n, wave) inputs, in the fastest batches."""
    if not weights:
        return torch.zeros(0, len(x), 1)
    kind = "bfloat16" if weights[0]["dense.weight"].dtype == torch.bfloat16 else "float32"
    size = BATCH.get((x.device.type, kind), GPU_BATCH)
    parts = [torch.stack([run(one, part) for one in weights]) for part in torch.split(x, size)]
    return torch.cat(parts, dim=1)
