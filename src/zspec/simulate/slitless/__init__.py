"""A slitless spectrograph: shapes, gratings, detectors and a pipeline, from ``instrument.toml``.

Each source becomes a two-dimensional first-order image in every band: its light per wavelength in
electrons, in the places of its own Sérsic image under the PSF, over sky, dark current and read
noise; other sources may lie on it. Rows are summed to a spectrum with errors. The noise is Gaussian
with the variance of the counts (with 23 electrons and 100 e-² of read noise a pixel its skewness
is below 0.02), it is never clipped, and negative fluxes are as likely as they should be.
Spectra are made without the image (see ``extraction``); where images are asked for, their noise is
drawn under the condition that its weighted sum is the noise of the spectrum: the spectra are the
same, bit for bit, with images and without.

Row i of a block depends on the seed, on i and on the objects up to i.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from zspec.flags import ZWarn, where
from zspec.simulate.artefacts import Artefact
from zspec.simulate.instrument import Observed
from zspec.simulate.objects import Objects
from zspec.simulate.seeds import generator
from zspec.simulate.slitless import contamination
from zspec.simulate.slitless.design import Design, parse
from zspec.simulate.slitless.dispersion import Deposit
from zspec.simulate.slitless.morphology import DRAWS, draw_shapes
from zspec.simulate.slitless.scene import Exposed, Scene, render
from zspec.survey import Arm, Spectra, Truth

FINE_STEP = 2e-4
"""In ln λ: 60 km/s, a third of the velocity dispersion of a galaxy, a tenth of the resolution."""


class Slitless:
    """Kind ``slitless`` of :class:`zspec.simulate.instrument.Instrument`."""

    def __init__(self, design: Design) -> None:
        """Of these numbers."""
        self.design = design
        blue = min(band.range()[0] for band in design.used)
        red = max(band.range()[1] for band in design.used)
        count = int(np.ceil(np.log(red / blue) / FINE_STEP)) + 1
        self._wave = blue * np.exp(FINE_STEP * np.arange(count))
        self.deposits = [Deposit(band, self._wave, design.area_time) for band in design.used]
        """Of the bands in use: flux to electrons."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> Slitless:
        """From what the file says but for ``kind``. Raises ConfigError."""
        return cls(parse(config, where))

    @property
    def wave(self) -> torch.Tensor:
        """(wave,) float64 Å where objects are wanted."""
        return torch.from_numpy(self._wave)

    def observe(self, objects: Objects, seed: Sequence[int]) -> Observed:
        """See :class:`zspec.simulate.instrument.Instrument`."""
        scene = self.arrange(objects, seed)
        exposed = {
            band.name: render(scene, objects.flux, band, deposit, [*seed, number + 1])
            for number, (band, deposit) in enumerate(
                zip(self.design.used, self.deposits, strict=True)
            )
        }
        return Observed(
            spectra=_spectra(scene, exposed, objects),
            truth={**objects.truth, **_truth(scene, exposed)},
            images={
                f"{band}_{what}": image
                for band, made in exposed.items()
                for what, image in made.images.items()
            },
            clean=tuple(made.clean.cpu().numpy() for made in exposed.values()),
        )

    def arrange(self, objects: Objects, seed: Sequence[int]) -> Scene:
        """Shapes and neighbours of a block."""
        count = DRAWS + 2 * contamination.DRAWS + 1
        uniform = np.zeros((len(objects), count))
        for i, row in enumerate(uniform):
            rng = generator([*seed, 0, i + 1])
            row[:] = torch.rand(count, generator=rng, dtype=torch.float64).numpy()
        shape, first, second, last = np.split(
            uniform, np.cumsum([DRAWS, contamination.DRAWS, contamination.DRAWS]), axis=1
        )
        shares = self.design.contamination
        return Scene(
            design=self.design,
            shapes=draw_shapes(objects, self.design, shape),
            neighbours=contamination.draw_intruders(shares.neighbours, self.design, first),
            zero_orders=contamination.draw_intruders(shares.zero_orders, self.design, second),
            guess=np.exp(shares.known * norm.ppf(np.clip(last[:, 0], 1e-9, 1 - 1e-9))),
        )


def _spectra(scene: Scene, exposed: Mapping[str, Exposed], objects: Objects) -> Spectra:
    """The arms, what the file says of each source, and the truth."""
    n = len(objects)
    spread = scene.spread.cpu().numpy()
    arms = [
        Arm(
            name=band.name,
            wave=band.wave(),
            flux=exposed[band.name].flux.cpu().numpy(),
            ivar=exposed[band.name].ivar.cpu().numpy(),
            resolution=np.repeat(spread[:, None] * np.float32(band.step), band.pixels, axis=1),
        )
        for band in scene.design.used
    ]
    estimates = {
        f"CONTAM_{k}": (v.intruded * scene.guess).astype(np.float32) for k, v in exposed.items()
    }
    worst = np.max(list(estimates.values()), axis=0)
    return Spectra(
        arms=tuple(arms),
        ids=np.arange(1, n + 1, dtype=np.int64),
        rows=np.arange(n, dtype=np.int32),
        table=estimates,
        truth=Truth(
            np.asarray(objects.truth["SPECTYPE"]),
            np.asarray(objects.truth["Z"], np.float64),
            np.asarray(objects.truth["LABEL"]),
        ),
        zwarn=where(worst > scene.design.contamination.flag, ZWarn.CONTAMINATED),
    )


def _truth(scene: Scene, exposed: Mapping[str, Exposed]) -> dict[str, NDArray[Any]]:
    """Columns of the truth table that the instrument adds."""
    n, shapes, scale = len(scene.guess), scene.shapes, scene.design.detector.scale
    named = {
        "R_EFF": shapes.r_eff * scale,
        "SERSIC": shapes.index,
        "AXIS_RATIO": shapes.axis_ratio,
        "ANGLE": torch.rad2deg(shapes.angle),
        "WAVEOFF": shapes.column,
        "LSF_PIXELS": scene.spread,
    }
    columns: dict[str, NDArray[Any]] = {k: v.cpu().numpy() for k, v in named.items()}
    for key, made in exposed.items():
        ratio = made.clean * made.ivar.sqrt()
        columns[f"SNR_{key}"] = ratio.median(dim=1).values.cpu().numpy()
        columns[f"CONTAM_TRUE_{key}"] = made.intruded.astype(np.float32)
    columns["SNR"] = np.mean([columns[f"SNR_{key}"] for key in exposed], axis=0)
    for name, group in (("NEIGHBOUR", scene.neighbours), ("ZERO_ORDER", scene.zero_orders)):
        columns[name] = np.isin(np.arange(n), group.target)
    hit = columns["NEIGHBOUR"] | columns["ZERO_ORDER"]
    return columns | {"ARTEFACT": np.where(hit, int(Artefact.CONTAMINATED), 0).astype(np.int32)}
