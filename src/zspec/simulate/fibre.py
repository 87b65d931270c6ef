"""A fibre spectrograph: cameras, sky, exposures and a pipeline, as ``instrument.toml`` has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.simulate.artefacts import Artefact, Injector
from zspec.simulate.exposure import draw_conditions, expose, join
from zspec.simulate.instrument import Observed
from zspec.simulate.objects import Objects
from zspec.simulate.optics import Optics, build
from zspec.simulate.seeds import generator
from zspec.simulate.spectrograph import Spectrograph, parse
from zspec.survey import Arm, Spectra, Truth

TOGETHER = 32
"""Spectra that are exposed at once: their arrays fit into a processor's cache (measured)."""
COLUMNS = ("SNR", "ARTEFACT", "EXPTIME", "SKYLEVEL", "TILT", "STEP")
"""What the truth says of each: SNR of the noise-free flux, bits, seconds, the sky's brightness over
its mean, ln(flux) at the red end by a wrong calibration, largest step of it between cameras."""
SAMPLED = 8
"""Every which pixel goes into the median signal-to-noise of the truth table."""


class Fibre:
    """Kind ``fibre`` of :class:`zspec.simulate.instrument.Instrument`."""

    def __init__(self, spec: Spectrograph) -> None:
        """Of these numbers; matrices are made when first used."""
        self.spec = spec
        self._optics: dict[str, Optics] = {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> Fibre:
        """From what the file says but for ``kind``. Raises ConfigError."""
        return cls(parse(config, where))

    @property
    def wave(self) -> torch.Tensor:
        """(wave,) float64 Å where objects are wanted."""
        return self.optics("cpu").fine

    def optics(self, device: str) -> Optics:
        """The tensors on a device."""
        if device not in self._optics:
            self._optics[device] = build(self.spec, device)
        return self._optics[device]

    def observe(self, objects: Objects, seed: Sequence[int]) -> Observed:
        """See :class:`zspec.simulate.instrument.Instrument`."""
        device = objects.flux.device.type
        optics, rng = self.optics(device), generator(seed, device)
        parts = [self._expose(flux, optics, rng) for flux in torch.split(objects.flux, TOGETHER)]
        pairs = [
            tuple(torch.cat([part.arms[k][i] for part in parts], dim=1) for i in (0, 1))
            for k in range(len(optics.arms))
        ]
        columns = {k: torch.cat([p.columns[k] for p in parts]).cpu().numpy() for k in COLUMNS}
        return Observed(
            spectra=_spectra(optics, pairs, objects, columns["ARTEFACT"]),
            truth={**objects.truth, **columns},
        )

    def _expose(self, flux: torch.Tensor, optics: Optics, rng: torch.Generator) -> Part:
        """Observe some objects, (n, wave)."""
        injector = Injector.of(len(flux), self.spec.artefacts, optics, rng)
        seen = draw_conditions(self.spec, len(flux), rng)
        clean = optics.spread @ flux.T  # (pixel, n)
        injector.blank(clean)
        exposed = expose(clean, self.spec, optics, seen, rng)
        snr = _snr(clean, exposed.ivar)
        injector.spoil(exposed, seen)
        steps = seen.steps.amax(dim=0) - seen.steps.amin(dim=0)
        values = (snr, injector.bits, seen.seconds[0], seen.continuum[0], seen.tilt[0], steps)
        return Part(join(exposed, optics), dict(zip(COLUMNS, values, strict=True)))


@dataclass(frozen=True)
class Part:
    """Some objects as observed."""

    arms: Sequence[tuple[torch.Tensor, torch.Tensor]]
    """Flux and ivar, (pixel, n), of each arm."""
    columns: Mapping[str, torch.Tensor]
    """(n,) what ``COLUMNS`` names."""


def _snr(clean: torch.Tensor, ivar: torch.Tensor) -> torch.Tensor:
    """(n,) median of noise-free flux over the pipeline's error, per native pixel of the cameras."""
    return (clean[::SAMPLED] * ivar[::SAMPLED].sqrt()).median(dim=0).values


def _spectra(
    optics: Optics,
    pairs: Sequence[tuple[torch.Tensor, ...]],
    objects: Objects,
    bits: NDArray[np.int32],
) -> Spectra:
    """The arms with the truth; blank fibres have none."""
    n = len(objects)
    arms = [
        Arm(
            name=arm.name,
            wave=arm.wave,
            flux=flux.T.contiguous().cpu().numpy(),
            ivar=ivar.T.contiguous().cpu().numpy(),
            resolution=arm.resolution,
        )
        for arm, (flux, ivar) in zip(optics.arms, pairs, strict=True)
    ]
    blank = (bits & int(Artefact.BLANK)) != 0
    return Spectra(
        arms=tuple(arms),
        ids=np.arange(1, n + 1, dtype=np.int64),
        rows=np.arange(n, dtype=np.int32),
        truth=Truth(
            spectype=np.where(blank, "", objects.truth["SPECTYPE"]),
            z=np.where(blank, np.nan, objects.truth["Z"]),
            label=np.where(blank, "", objects.truth["LABEL"]),
        ),
    )
