"""What a trained GaSNet-II consists of, and how a checkpoint stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from zspec.gasnet2.forward import Precision, place
from zspec.gasnet2.heads import Head


@dataclass(frozen=True)
class Networks:
    """All trained networks, batch norm folded: see :func:`zspec.gasnet2.forward.fold`."""

    classifiers: tuple[dict[str, Tensor], ...]
    """One for each head."""
    members: Mapping[int, tuple[dict[str, Tensor], ...]]
    """Number of a class to its ensemble."""
    point: Mapping[int, dict[str, Tensor]]
    """Number of a class to its network for the point estimate; may be empty."""

    def tensors(self) -> dict[str, Tensor]:
        """All of them under one set of names."""
        groups: dict[str, Sequence[dict[str, Tensor]]] = {"class": self.classifiers}
        groups |= {f"z{number}": nets for number, nets in self.members.items()}
        groups |= {f"point{number}": [net] for number, net in self.point.items()}
        return {
            f"{group}.{i}.{name}": tensor
            for group, nets in groups.items()
            for i, net in enumerate(nets)
            for name, tensor in net.items()
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor]) -> Networks:
        """What ``tensors`` gave, in float32."""
        found: dict[str, dict[int, dict[str, Tensor]]] = {}
        for key, tensor in tensors.items():
            group, i, name = key.split(".", 2)
            found.setdefault(group, {}).setdefault(int(i), {})[name] = tensor.float()
        lists = {group: tuple(nets[i] for i in sorted(nets)) for group, nets in found.items()}
        return cls(
            lists["class"],
            {int(g[1:]): nets for g, nets in lists.items() if g.startswith("z")},
            {int(g[5:]): nets[0] for g, nets in lists.items() if g.startswith("point")},
        )

    def placed(self, device: str, precision: Precision) -> Networks:
        """The same, where and as they compute."""
        return Networks(
            tuple(place(net, device, precision) for net in self.classifiers),
            {n: tuple(place(net, device, precision) for net in v) for n, v in self.members.items()},
            {n: place(net, device, precision) for n, net in self.point.items()},
        )


@dataclass(frozen=True)
class Config:
    """What a model is beside its networks."""

    heads: tuple[Head, ...]
    scale: str
    """``unit`` or ``rms``: how the input is normalised."""
    z_scale: float
    """Outputs are redshifts times this."""
    mae: Mapping[int, float]
    """Validation MAE of each class with a redshift: sigma above it is UNSTABLE."""
    threshold: float = 0.01
    """Ensembles run for classes with at least this probability, and for the best one."""
    precision: Precision = "float32"
    """Of the convolutions."""
    store: str = "float32"
    """Of the weights in the file: ``float32`` or ``float16``."""

    def stored(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self) | {"mae": {str(k): v for k, v in self.mae.items()}}

    @classmethod
    def restore(cls, stored: Mapping[str, Any]) -> Config:
        """What ``stored`` gave."""
        every = tuple(tuple(tuple(group) for group in head) for head in stored["heads"])
        mae = {int(k): float(v) for k, v in stored["mae"].items()}
        return cls(**{**stored, "heads": every, "mae": mae})
