"""A toy survey of two overlapping bands, and small trainings of the slitless network on it."""

from __future__ import annotations

import numpy as np

from zspec import Arm, Spectra, Truth, WaveGrid
from zspec.slitless import samples, training
from zspec.slitless.recipe import parse

BLUE, RED = np.arange(4000.0, 6400.0, 30.0), np.arange(6200.0, 10000.0, 40.0)
GRID = WaveGrid.native(BLUE, RED)
LINES = ((3728.0, 1.0), (4863.0, 0.5), (5008.0, 1.2), (6565.0, 1.5))
"""Å and relative flux: enough for a redshift between 0 and 0.5."""


def light(wave, z, strength):
    """(n, pixel): a smooth continuum with a step at 4000 Å and broad emission lines."""
    rest = wave / (1 + z[:, None])
    flux = 1 + 0.6 * np.tanh((rest - 4000) / 100) + (wave - 7000) / 1e4
    for centre, relative in LINES:
        flux = flux + strength[:, None] * relative * np.exp(-0.5 * ((rest - centre) / 40) ** 2)
    return flux


def spectra(n, seed, noise=0.2, truth=True):
    """``n`` noisy spectra of two overlapping bands, and their noise-free flux per band."""
    rng = np.random.default_rng(seed)
    z, strength = rng.uniform(0.02, 0.5, n), rng.uniform(2, 5, n)
    clean = [light(w, z, strength) for w in (BLUE, RED)]
    error = noise * rng.uniform(0.5, 2, (n, 1))
    arms = tuple(
        Arm(name, w, c + error * rng.standard_normal(c.shape), np.full(c.shape, error**-2))
        for name, w, c in zip("BR", (BLUE, RED), clean, strict=True)
    )
    made = Spectra(
        arms=arms,
        ids=np.arange(n, dtype=np.int64),
        rows=np.arange(n, dtype=np.int32),
        truth=Truth(np.full(n, "GALAXY"), z) if truth else None,
    )
    return made, clean


def training_set(n, seed):
    made, clean = spectra(n, seed)
    return sampled(made, clean)


def sampled(made, clean=None, spectype="GALAXY"):
    return samples.sample(made, GRID, clean, spectype, np.ones(len(made), bool))


def recipe(**more):
    tables = {
        "estimator": "slitless-bnn",
        "seed": 4,
        "device": "cpu",
        "data": {"survey": "toy"},
        "label": {"z_range": [0.0, 0.6]},
        "network": {"channels": [4, 4, 8, 8, 8, 8, 16, 16], "stem": 4},
        "point": {"epochs": 2, "batch": 64, "rate": 3e-3, "schedule": "cosine", "scale": 10.0},
        "head": {"hidden": 8, "passes": 20},
        "bayes": {"epochs": 2, "batch": 64, "realisations": 2},
    }
    for key, value in more.items():
        tables[key] = {**tables.get(key, {}), **value} if isinstance(value, dict) else value
    return parse(tables)


def trained(said, n=256, kept=None, told=lambda fit: None):
    train, valid = training_set(n, 1), training_set(128, 2)
    return training.fit(said, GRID, train, valid, "cpu", kept, told)
