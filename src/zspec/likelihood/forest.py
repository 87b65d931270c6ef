"""Mean transmission of the Lyman forest, for templates that show none.

Each line of the Lyman series absorbs what is bluer in the rest frame, by an optical depth that
depends on the observed wavelength alone: tau = A (1 + z_pixel)^B with 1 + z_pixel = λ_obs / λ_line.
Which of the models a template of redrock was corrected with its card RRIGM says, or its version.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LYA = 1215.67  # Å, vacuum

# Relative optical depths of the higher lines: Irsic et al. 2013 (arXiv:1307.3403), eq. 1.1.
SERIES = (
    (LYA, 1.0),
    (1025.72, 5.2615),
    (972.537, 14.356),
    (949.7431, 29.85984),
    (937.8035, 53.36202),
)
"""(wavelength in Å, by how much its optical depth is below that of Lyα)."""

MODELS: Mapping[str, tuple[float, float, int]] = {
    "Calura12": (0.0023, 3.64, 5),
    "Kamble20": (0.00554, 3.182, 1),
}
"""(A, B, number of lines): Calura et al. 2012 (arXiv:1201.5121), eq. 5; Kamble et al. 2020
(arXiv:1904.01110), which the quasar templates 1.1 of redrock were corrected with, Lyα only."""

BY_VERSION: Mapping[tuple[str, str], str] = {
    ("GALAXY", "2.6"): "Calura12",
    ("QSO", "0.1"): "Calura12",
    ("QSO", "1.0"): "Calura12",
    ("QSO", "1.1"): "Kamble20",
}
"""Model by spectype and version, for redrock's files from before RRIGM."""


def transmission(model: str, wave: Array, z: float) -> Array:
    """Share of the light at rest-frame ``wave`` (Å) that the forest before redshift z lets pass."""
    depth, power, count = MODELS[model]
    tau = np.zeros_like(wave)
    for line, weaker in SERIES[:count]:
        absorbed = wave < line
        tau[absorbed] += depth / weaker * (wave[absorbed] * (1 + z) / line) ** power
    return np.asarray(np.exp(-tau))
