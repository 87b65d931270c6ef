"""Mock and real spectra side by side (``docs/explanation/simulate.md``), and ratios of errors.

    python docs/simulate_pictures.py shared/data

Writes ``docs/pictures/simulate-*.png`` and prints the ratios.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import fitsio
import matplotlib as mpl
import numpy as np
import torch

mpl.use("Agg")
import matplotlib.pyplot as plt

import zspec
from zspec import Arm, Spectra, plugins
from zspec.simulate.instrument import read_instrument
from zspec.simulate.objects import Objects
from zspec.simulate.simulator import simulator

PICTURES = Path(__file__).parent / "pictures"
REAL, MOCK = "#0072b2", "#d55e00"
"""Colour-blind safe (Okabe & Ito)."""
STEADY = {"exposure.scatter": "0", "sky.scatter": "0", "artefacts.lost": "0"}
WHOLE = {"artefacts.blank": "0", "artefacts.missing_arm": "0", "exposure.scatter": "0"}
DEPTH = {"desi": {"exposure.count": "4.0"}}
"""The real quasars of DESI were visited some four times."""
BLOCKS = 24


def main(data: Path) -> None:
    """All pictures, and the ratios of errors."""
    torch.set_num_threads(1)
    PICTURES.mkdir(exist_ok=True)
    draw_noise(data)
    draw_pairs("sdss", list(real_sdss(data / "sdss")), "simulate-sdss.png")
    draw_pairs("desi", list(real_desi(data / "desi")), "simulate-desi.png")


def flat(survey: str, flux: Sequence[float], **settings: str) -> Spectra:
    """Flat spectra of these fluxes as a survey observes them, always alike."""
    path = plugins.survey(survey).simulation
    assert path is not None
    made = read_instrument(path / "instrument.toml", STEADY | settings)
    n = len(flux)
    rows = torch.as_tensor(np.asarray(flux, np.float32))[:, None].expand(n, len(made.wave))
    truth = {"SPECTYPE": np.full(n, "STAR"), "LABEL": np.full(n, "STAR"), "Z": np.zeros(n)}
    return made.observe(Objects(made.wave, rows.clone(), truth), [1]).spectra


def sigma(arm: Arm) -> np.ndarray:
    """(n, pixel) error, NaN where not good."""
    with np.errstate(divide="ignore"):
        return np.where(arm.ivar > 0, 1 / np.sqrt(arm.ivar), np.nan)


def draw_noise(data: Path) -> None:
    """Error against wavelength, of empty spectra, and against flux."""
    figure, axes = plt.subplots(3, 1, figsize=(11, 10), layout="constrained")
    errors, model, seconds = boss_errors(data / "sdss")
    errors *= np.sqrt(seconds / 4500)[:, None]
    wave = 10 ** (np.arange(35500, 40201) * 1e-4)
    fluxes = np.geomspace(0.3, 100, 128)
    mocks = sigma(flat("sdss", fluxes).arms[0])
    faint = np.median(model, axis=1) < 3
    axes[0].semilogy(wave, np.nanmedian(errors[faint], 0), lw=0.5, color=REAL, label="real")
    low = (fluxes > 1) & (fluxes < 3)
    axes[0].semilogy(wave, np.nanmedian(mocks[low], 0), lw=0.5, color=MOCK, label="mock")
    axes[0].set(title=f"BOSS: {faint.sum()} coadds of faint targets, scaled to 4500 s")
    for centre in (4550, 7050, 9050):
        near = np.abs(wave - centre) < 50
        level, error = np.nanmedian(model[:, near], 1), np.nanmedian(errors[:, near], 1)
        ours = np.nanmedian(mocks[:, near], 1)
        axes[1].loglog(level, error, ".", ms=2, color=REAL)
        axes[1].loglog(fluxes, ours, lw=1, color=MOCK)
        some = (level > 0.5) & (level < 100)
        ratio = np.nanmedian(error[some] / np.interp(level[some], fluxes, ours))
        say(f"BOSS error, real over mock, at {centre} Å: {ratio:.3f}")
    axes[1].set(
        title="BOSS: at 4550, 7050 and 9050 Å", xlabel="flux", ylabel="error", xlim=(0.3, 200)
    )
    draw_desi_noise(axes[2], data / "instruments" / "desi" / "desi_noise_sigma_per_1000s.csv")
    axes[0].legend(frameon=False)
    figure.savefig(PICTURES / "simulate-noise.png", dpi=90, metadata={"Software": None})


def draw_desi_noise(axes: plt.Axes, path: Path) -> None:
    """The three arms, 1000 s."""
    rows = [r for r in csv.reader(path.open()) if r[0] in ("B", "R", "Z")]
    for arm in flat("desi", [0.3] * 32).arms:
        mine = [r for r in rows if r[0] == arm.name]
        real = np.array([float(r[2] or "nan") for r in mine])
        mock = np.nanmedian(sigma(arm), 0)
        axes.semilogy(arm.wave, real, lw=0.5, color=REAL)
        axes.semilogy(arm.wave, mock, lw=0.5, color=MOCK)
        low, middle, high = np.nanpercentile(real / mock, (16, 50, 84))
        say(f"DESI error, real over mock, {arm.name}: {middle:.3f} ({low:.2f} to {high:.2f})")
    axes.set(title="DESI: faint targets, scaled to 1000 s", xlabel="wavelength (Å)")


def boss_errors(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors and models (n, pixel) of BOSS coadds, and their seconds (n,)."""
    errors, models, seconds = [], [], []
    for row in csv.DictReader((folder / "manifest.csv").open()):
        if not row["format"].startswith("spec") or int(row["plate"] or 0) < 3510:
            continue
        with fitsio.FITS(folder / row["file"]) as file:
            time, table = file[0].read_header().get("EXPTIME"), file[1].read()
        if not time:
            continue
        named = {k.lower(): table[k] for k in table.dtype.names}
        at = np.round(named["loglam"] * 1e4).astype(int) - 35500
        inside = (at >= 0) & (at < 4701)
        good = (named["ivar"] > 0) & ((named["and_mask"] & (1 << 23)) == 0)
        error = np.full(4701, np.nan)
        error[at[inside & good]] = named["ivar"][inside & good] ** -0.5
        model = np.zeros(4701)
        model[at[inside]] = named["model"][inside]
        errors.append(error)
        models.append(model)
        seconds.append(float(time))
    return np.array(errors), np.array(models), np.array(seconds)


def say(text: str) -> None:
    """One line of a table."""
    sys.stdout.write(text + "\n")


Real = tuple[str, float, Spectra]


def real_sdss(folder: Path) -> Iterator[Real]:
    """One of each of six kinds: class, z and spectrum."""
    wanted = [
        ("GALAXY", "", 3, 8), ("GALAXY", "STARFORMING", 8, 30), ("QSO", "BROADLINE", 4, 12),
        ("STAR", "F", 15, 60), ("STAR", "K", 8, 60), ("GALAXY", "", 9, 30),
    ]  # fmt: skip
    rows = list(csv.DictReader((folder / "manifest.csv").open()))
    for kind, sub, low, high in wanted:
        for row in rows:
            same = row["class"] == kind and row["subclass"].startswith(sub)
            fits = same and (sub or not row["subclass"]) and row["label_ok"] == "1"
            boss = int(row["plate"] or 0) >= 3510 and row["format"].startswith("spec")
            if fits and boss and low < float(row["sn_median"] or 0) < high:
                yield kind, float(row["z"]), next(zspec.read(folder / row["file"]))
                break


def real_desi(folder: Path) -> Iterator[Real]:
    """The galaxy and quasars that a catalogue has, in files with three arms."""
    for row in csv.DictReader((folder / "manifest.csv").open()):
        listed = row["class"] in ("GALAXY", "QSO") and row["file"].startswith("coadd") and row["z"]
        if not listed or not row["label_source"].startswith(("redrock", "DESI QSO")):
            continue
        for chunk in zspec.read(folder / row["file"]):
            at = np.flatnonzero(chunk.ids == int(row["targetid"]))
            if len(at) and len(chunk.arms) == 3:
                yield row["class"], float(row["z"]), chunk[int(at[0]) : int(at[0]) + 1]


def draw_pairs(survey: str, reals: list[Real], name: str) -> None:
    """Each real spectrum, and the mock that is nearest in class, redshift, flux and colour."""
    source = simulator(plugins.survey(survey), 1, settings=WHOLE | DEPTH.get(survey, {}))
    blocks = [source.block(k) for k in range(BLOCKS)]
    figure, axes = plt.subplots(
        len(reals), 2, figsize=(13, 2.1 * len(reals)), layout="constrained", sharex=True
    )
    for (kind, z, real), (left, right) in zip(reals, axes, strict=True):
        best = min(
            (distance(block.spectra, i, kind, z, real), k, i)
            for k, block in enumerate(blocks)
            for i in range(len(block.spectra))
        )
        mock = blocks[best[1]].spectra[best[2] : best[2] + 1]
        assert mock.truth is not None
        show(left, real, REAL, f"real {kind}, z = {z:.4f}")
        label = "" if mock.truth.label is None else mock.truth.label[0]
        show(right, mock, MOCK, f"mock {label}, z = {mock.truth.z[0]:.4f}")
        right.set_ylim(left.get_ylim())
    figure.savefig(PICTURES / name, dpi=80, metadata={"Software": None})


def level(spectra: Spectra, row: int, low: float = 0.0, high: float = np.inf) -> float:
    """Median flux of one spectrum between two wavelengths, at least 0.01."""
    parts = [
        arm.flux[row][arm.usable[row] & (arm.wave > low) & (arm.wave < high)]
        for arm in spectra.arms
    ]
    flux = np.concatenate(parts)
    return max(float(np.median(flux)), 0.01) if len(flux) else 0.01


def colour(spectra: Spectra, row: int) -> float:
    """Red over blue flux, as a natural logarithm."""
    red, blue = level(spectra, row, 7500, 8500), level(spectra, row, 4200, 5200)
    return float(np.log(red / blue))


def other_label(mocks: Spectra, row: int, real: Spectra) -> bool:
    """Whether both have a fine class, and not the same."""
    labels = [None if s.truth is None else s.truth.label for s in (mocks, real)]
    if labels[0] is None or labels[1] is None:
        return False
    return bool(labels[0][row] != labels[1][0])


def distance(mocks: Spectra, row: int, kind: str, z: float, real: Spectra) -> float:
    """How unlike a mock and a real spectrum are in class, redshift, flux and colour."""
    assert mocks.truth is not None
    if mocks.truth.spectype[row] != kind:
        return np.inf
    dz = np.log((1 + mocks.truth.z[row]) / (1 + z))
    other = other_label(mocks, row, real)
    return float(
        other
        + abs(dz) / 0.05
        + abs(np.log(level(mocks, row) / level(real, 0)))
        + abs(colour(mocks, row) - colour(real, 0))
    )


def show(axes: plt.Axes, spectra: Spectra, colour: str, title: str) -> None:
    """Flux of the good pixels of all arms."""
    every = np.concatenate([arm.flux[0][arm.usable[0]] for arm in spectra.arms])
    for arm in spectra.arms:
        axes.plot(arm.wave, np.where(arm.usable[0], arm.flux[0], np.nan), lw=0.4, color=colour)
    low, high = np.percentile(every, (1, 99.7))
    axes.set_ylim(min(0, low), 1.3 * high)
    axes.set_title(title, fontsize=9)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
