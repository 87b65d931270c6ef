"""Random numbers that whole numbers decide."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def mixed(seed: Sequence[int]) -> int:
    """One seed of 63 bits from several numbers >= 0; different ones give unrelated seeds."""
    state = np.random.SeedSequence(list(seed)).generate_state(2, np.uint32)
    return (int(state[0]) << 31) ^ int(state[1])


def generator(seed: Sequence[int], device: str = "cpu") -> torch.Generator:
    """A generator on a device. Different kinds of devices give different numbers."""
    return torch.Generator(device).manual_seed(mixed(seed))
