"""Which device the arithmetic runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zspec.errors import ConfigError, unknown

if TYPE_CHECKING:
    import torch

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


def lacks_memory(error: RuntimeError) -> bool:
    """Whether a device ran out of memory; torch has no one error for that."""
    import torch

    said = ("MPS backend out of memory", "CUDA error: out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(part in str(error) for part in said)


def move(tensor: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    """A tensor on a device; from the CPU to CUDA by pinned memory, which that reads by itself.

    torch keeps the pinned memory until it was read, and takes the same for the next chunk.
    """
    if tensor.device.type != "cpu" or not str(device).startswith("cuda"):
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
