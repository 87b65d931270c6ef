"""Which device the arithmetic runs on."""

from __future__ import annotations

from zspec.errors import ConfigError, unknown

DEVICES = ("auto", "cpu", "cuda", "mps")


def resolve(name: str) -> str:
    """The device that ``name`` means here: ``auto`` takes CUDA where there is one, else the CPU.

    Raises ConfigError where the device is unknown or not there.
    """
    import torch

    if name not in DEVICES:
        raise ConfigError(unknown("device", name, DEVICES))
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if not there[name]:
        raise ConfigError(f"device {name!r} is not there (torch {torch.__version__}); try cpu")
    return name
