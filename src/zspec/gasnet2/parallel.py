"""Several processes that train one model: ``torchrun --nproc-per-node N -m zspec train``.

Each process takes its share of every batch, and DistributedDataParallel averages the gradients.
Batch norm sees the process's share only, as PyTorch's does, so that the result depends on their
number. The first process validates and writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class Crew:
    """The processes of a training, and which of them this is."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this process validates and writes."""
        return self.rank == 0

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """This process's part of the rows of a batch."""
        return rows[self.rank :: self.size]

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network, with gradients averaged over all processes where there are several."""
        if self.size == 1:
            return network
        return nn.parallel.DistributedDataParallel(network)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def crew(device: str) -> Iterator[Crew]:
    """The processes that torchrun started, or this one alone; ``device`` as ``cpu`` or ``cuda``."""
    if not distributed.is_torchelastic_launched():
        yield Crew(device=device)
        return
    cuda = device.startswith("cuda")
    own = f"cuda:{os.environ['LOCAL_RANK']}" if cuda else device  # torchrun sets it
    if cuda:
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Crew(distributed.get_rank(), distributed.get_world_size(), own)
    finally:
        distributed.destroy_process_group()
