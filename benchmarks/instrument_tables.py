"""The tables of the instruments, from published curves and real coadds in the shared data.

    python benchmarks/instrument_tables.py shared/data

Rewrites the tables (throughput, lsf, continuum, lines, transmission) of the three files
``plugins/*/simulation/instrument.toml`` in place; what stands around them is written by hand.

- Sky: non-negative least squares of single lines, at the wavelengths of the peaks in the UVES sky,
  and of a continuum between points ``CONTINUUM`` Å apart, to a sky spectrum of each survey.
- SDSS: variance times exposure time against flux plus sky of BOSS coadds, of faint targets and
  between the lines of the sky, gives the throughput.
- DESI: the digitised spectrograph throughput is scaled in windows of ``WINDOW`` Å until the noise
  is that of real faint targets at 1000 s.
- 4MOST: the consortium's efficiency, sky in electrons, and resolution, sampled.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fitsio
import numpy as np
import tomli
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.signal import find_peaks
from scipy.special import ndtr

from zspec.grid import bounds
from zspec.simulate.optics import FLUX, HC, build
from zspec.simulate.response import interpolate
from zspec.simulate.spectrograph import parse

Float = NDArray[np.float64]
PLUGINS = Path(__file__).parent.parent / "plugins"
CONTINUUM, WINDOW = 100.0, 60.0
FAINT = 5.0
"""1e-17 erg/s/cm2/Å: above it SDSS's errors have more than photons in them."""
KEPT = 0.2
"""Å: weakest equivalent width of a line that is kept."""


def main(data: Path) -> None:
    """Rewrite the tables of all three."""
    instruments = data / "instruments"
    positions = sky_peaks(instruments / "desi")
    four_most(instruments / "4most", positions)
    sdss(data / "sdss", positions)
    desi(instruments / "desi", positions)


def sky_peaks(folder: Path) -> Float:
    """Å, vacuum, of the peaks of the UVES atlas that desispec's list of lines has too.

    The atlas alone has edges of orders and remains of cosmic rays.
    """
    sky = fitsio.read(folder / "sky-uves.fits", ext=1)
    peaks, _ = find_peaks(sky["flux"], prominence=0.8)
    at = np.asarray(sky["wavelength"][peaks], float)
    wave, flux = np.loadtxt(folder / "spec-sky.dat").T
    listed = wave[find_peaks(flux)[0]]
    off = np.abs(listed[np.clip(np.searchsorted(listed, at), 1, len(listed) - 1)] - at)
    off = np.minimum(off, np.abs(listed[np.searchsorted(listed, at).clip(1) - 1] - at))
    return np.asarray(at[(off < 0.5) | (at > wave[-1])])


def fit_sky(wave: Float, sky: Float, sigma: Float, at: Float) -> tuple[Float, Float]:
    """Continuum (Å, 1e-17/Å) and lines (Å, 1e-17) that make the sky on pixels ``wave`` (Å).

    Fitted in pieces of 400 Å with a margin, since all at once would take minutes.
    """
    knots = np.arange(wave[0], wave[-1] + CONTINUUM, CONTINUUM)
    levels, lines = np.zeros(len(knots)), np.zeros(len(at))
    left, right = bounds(wave)
    for start in np.arange(wave[0], wave[-1], 400.0):
        near = (wave > start - 250) & (wave < start + 650)
        some = (at > start - 250) & (at < start + 650)
        hats = (knots > start - 360) & (knots < start + 760)
        width = interpolate(np.stack([wave, sigma], 1), at[some])
        upper = ndtr((right[near, None] - at[some]) / width)
        share = upper - ndtr((left[near, None] - at[some]) / width)
        share /= (right - left)[near, None]
        hat = np.clip(1 - np.abs(wave[near, None] - knots[hats]) / CONTINUUM, 0, None)
        weight = 1 / np.sqrt(np.maximum(sky[near], 0.1))[:, None]
        found, _ = nnls(np.hstack([hat, share]) * weight, sky[near] * weight[:, 0])
        mine = (knots[hats] >= start - 1) & (knots[hats] < start + 401)
        levels[np.flatnonzero(hats)[mine]] = found[: hats.sum()][mine]
        ours = (at[some] >= start) & (at[some] < start + 400)
        lines[np.flatnonzero(some)[ours]] = found[hats.sum() :][ours]
    strong = lines > KEPT * interpolate(np.stack([knots, levels], 1), at)
    print(f"  {strong.sum()} lines hold {lines[strong].sum() / lines.sum():.4f} of the light")
    return np.stack([knots, levels], 1), np.stack([at, lines], 1)[strong]


def sky_tables(continuum: Float, lines: Float) -> dict[str, Float]:
    """The two tables of the sky by their keys."""
    return {"continuum": continuum, "lines": lines}


def four_most(folder: Path, positions: Float) -> None:
    """Efficiency and sky at airmass 1.2, dark; the efficiency has the fibre's losses in it."""
    path, config = opened("4most")
    tel = config["telescope"]
    skies, tables = [], {}
    for camera, name in zip(config["cameras"], ("BLUE", "GREEN", "RED"), strict=True):
        table = fitsio.read(folder / "efficiency_4most.fits", ext=name)
        wave, share = (np.asarray(table[c], float) for c in ("WAVE", "MID"))
        res = fitsio.read(folder / f"LR_resolution_{name}.fits", ext=1)
        lsf = np.stack([res["WAVE"], res["WAVE"] / res["R"] / 2.3548], 1).astype(float)
        counts = np.asarray(fitsio.read(folder / "sky_model_dark.fits", ext=name)["MID"], float)
        unit = tel["area"] * share * FLUX * wave / HC * np.gradient(wave)
        keep = (share > 0.02) & (wave > camera["first"])
        scale = tel["acceptance"] / (np.pi / 4 * tel["fibre"] ** 2)
        skies.append((wave[keep], (counts / unit * scale)[keep], interpolate(lsf, wave[keep])))
        smooth = np.stack([wave, envelope(wave, share / tel["acceptance"])], 1)
        tables[camera["name"]] = {"throughput": thin(smooth, 40), "lsf": thin(lsf, 200)}
    bounded = [(lo, hi) for lo, hi in ((0, 5400), (5400, 7050), (7050, 99999))]
    parts = [
        tuple(column[(s[0] > lo) & (s[0] <= hi)] for column in s)
        for s, (lo, hi) in zip(skies, bounded, strict=True)
    ]
    wave, sky, sigma = (np.concatenate(c) for c in zip(*parts, strict=True))
    tables["sky"] = sky_tables(*fit_sky(wave, sky, sigma, positions))
    air = fitsio.read(folder / "sky_transmission.fits", ext=1)
    trans = np.stack([air["WAVE"], air["TRANS"]], 1).astype(float)
    tables[""] = {"transmission": simplify(trans, 0.02)}
    store(path, tables)


def sdss(folder: Path, positions: Float) -> None:
    """Throughput, sky and LSF of the BOSS spectrographs from their coadds."""
    path, config = opened("sdss")
    tel = config["telescope"]
    wave = 10 ** (np.arange(35500, 40201) * 1e-4)
    _, ivar, sky, wdisp, model, seconds = coadds(folder)
    middle = np.nanmedian(np.where(ivar > 0, sky, np.nan), axis=0)
    seen = np.isfinite(middle)
    sigma = np.nanmedian(np.where(wdisp > 0, wdisp, np.nan), axis=0) * wave * np.log(10) * 1e-4
    throughput = []
    for start in range(100, 4651, 50):
        part = slice(start, start + 50)
        good = ivar[:, part] > 0
        light = (sky + np.clip(model, 0, None))[:, part]
        good &= (light > 0) & (model[:, part] < FAINT)
        good &= sky[:, part] < np.nanmedian(sky[:, part], axis=1)[:, None]  # between the lines
        variance = np.divide(1, ivar[:, part], out=np.zeros_like(light), where=good)
        scaled = (variance * seconds[:, None])[good]
        camera = config["cameras"][0 if wave[start] < 6000 else 1]
        reads = camera["rows"] * camera["read_noise"] ** 2 / config["exposure"]["seconds"]
        s = solve_rate(light[good], scaled, reads + camera["rows"] * camera["dark"])
        centre = wave[start + 25]
        unit = tel["area"] * tel["acceptance"] * FLUX * centre / HC * centre * np.log(10) * 1e-4
        throughput.append((centre, s / unit))
    total = np.array(throughput)
    red = np.clip((total[:, 0] - 5900) / 300, 0, 1)
    tables = {}
    for camera, share in zip(config["cameras"], (1 - red, red), strict=True):
        some = share > 0
        curve = np.stack([total[some, 0], (total[:, 1] * share)[some]], 1)
        lsf = thin(np.stack([wave, sigma], 1)[np.isfinite(sigma)], 200)
        tables[camera["name"]] = {"throughput": curve, "lsf": lsf}
    scale = tel["acceptance"] / (np.pi / 4 * tel["fibre"] ** 2)
    fitted = fit_sky(wave[seen], middle[seen] * scale, sigma[seen], positions)
    tables["sky"] = sky_tables(*fitted)
    store(path, tables)


def solve_rate(light: Float, scaled: Float, reads: float) -> float:
    """Electrons per second and unit of flux: median of scaled / (light/s + reads/s2) is 1."""
    low, high = 1e-4, 10.0
    for _ in range(60):
        s = np.sqrt(low * high)
        over = np.median(scaled / (light / s + reads / s**2)) > 1
        low, high = (low, s) if over else (s, high)
    return float(np.sqrt(low * high))


def coadds(folder: Path) -> tuple[Float, ...]:
    """flux, ivar, sky, wdisp, model (n, pixel) of BOSS coadds, and seconds (n,)."""
    rows, seconds = [], []
    for row in csv.DictReader((folder / "manifest.csv").open()):
        if not row["format"].startswith("spec") or int(row["plate"] or 0) < 3510:
            continue  # the SDSS spectrographs before BOSS
        with fitsio.FITS(folder / row["file"]) as file:
            time = file[0].read_header().get("EXPTIME")
            table = file[1].read()
        if not time:
            continue
        named = {k.lower(): table[k] for k in table.dtype.names}
        at = np.round(named["loglam"] * 1e4).astype(int) - 35500
        inside = (at >= 0) & (at < 4701)
        made = np.zeros((5, 4701))
        for i, column in enumerate(("flux", "ivar", "sky", "wdisp", "model")):
            made[i, at[inside]] = named[column][inside]
        made[1, at[inside]] *= (named["and_mask"][inside] & (1 << 23)) == 0
        rows.append(made)
        seconds.append(float(time))
    every = np.array(rows)
    print(f"  {len(every)} BOSS coadds")
    return (*np.swapaxes(every, 0, 1), np.array(seconds))


def desi(folder: Path, positions: Float) -> None:
    """Throughput of the spectrograph, scaled until the noise is right; the UVES sky."""
    path, config = opened("desi")
    published = np.loadtxt(folder / "desi_spectrograph_thru.txt")
    noise = arms(folder / "desi_noise_sigma_per_1000s.csv")
    lsf = arms(folder / "desi_lsf_from_resolution_matrices.csv")
    widths = {name: thin(rows, 100) for name, rows in lsf.items()}
    sky = fitsio.read(folder / "sky-uves.fits", ext=1)
    sigma = np.full(len(sky), 0.15)
    wave, flux = (np.asarray(sky[c], float) for c in ("wavelength", "flux"))
    some = (wave > 3500) & (wave < 9950)
    fitted = fit_sky(wave[some], np.clip(flux[some], 0, None), sigma[some], positions)
    tables = {name: {"lsf": table} for name, table in widths.items()}
    for camera in config["cameras"]:
        edge = noise[camera["name"]][:, 0]
        at = np.arange(edge[0] + WINDOW / 2, edge[-1], WINDOW)
        # telescope and corrector 0.75, fibre 0.85 (README of the instrument data)
        curve = np.interp(at, *published.T) * 0.75 * 0.85
        tables[camera["name"]]["throughput"] = np.stack([at, curve], 1)
    tables["sky"] = sky_tables(*fitted)
    store(path, tables)
    for _ in range(6):
        predicted = predicted_noise(path)
        for name in widths:
            for point in tables[name]["throughput"]:
                here = np.abs(noise[name][:, 0] - point[0]) < WINDOW / 2
                ratio = np.nanpercentile(predicted[name][here], 30) / np.nanpercentile(
                    noise[name][here, 1], 30
                )
                point[1] *= ratio ** (1.5 if ratio < 1 else 1.2)
        store(path, tables)
    print(
        "  noise, predicted over real:",
        {k: f"{np.nanmedian(v / noise[k][:, 1]):.3f}" for k, v in predicted.items()},
    )


def predicted_noise(path: Path) -> dict[str, Float]:
    """(pixel,) sigma of an empty spectrum after 1000 s, by arm."""
    config = tomli.loads(path.read_text(encoding="utf-8"))
    config = {k: v for k, v in config.items() if k not in ("kind", "files")}
    spec = parse(config, str(path))
    optics = build(spec, "cpu")
    unit = optics.unit * 1000.0
    left = (spec.sky.known * spec.sky.residual * optics.lines * unit) ** 2
    sky = (optics.lines + optics.continuum) * unit + optics.dark * 1000.0
    sigma = (sky + optics.reads + left).sqrt() / unit
    return {
        c.name: sigma[part, 0].double().numpy()
        for c, part in zip(spec.cameras, optics.cameras, strict=True)
    }


def arms(path: Path) -> dict[str, Float]:
    """(pixel, 2) of wavelength and the first figure, by arm."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in csv.reader(path.open()):
        if row[0] in ("B", "R", "Z"):
            found.setdefault(row[0], []).append((float(row[1]), float(row[2] or "nan")))
    return {arm: np.array(rows) for arm, rows in found.items()}


def envelope(wave: Float, share: Float) -> Float:
    """A throughput without the air's bands: the upper end of what lies within 60 Å."""
    near = 60.0
    pieces = [share[(wave > w - near) & (wave < w + near)] for w in wave[::20]]
    high = [np.percentile(p, 70) for p in pieces]
    smooth = np.interp(wave, wave[::20], high)
    return np.where(share < 0.7 * smooth, smooth, share) if wave[0] > 6800 else share


def thin(table: Float, step: float) -> Float:
    """Medians of (Å, value) rows in steps of Å."""
    edges = np.arange(table[0, 0], table[-1, 0] + step, step)
    index = np.digitize(table[:, 0], edges)
    return np.array([np.nanmedian(table[index == i], axis=0) for i in np.unique(index)])


def simplify(table: Float, tolerance: float) -> Float:
    """The fewest of the rows between which straight lines miss no other by more (Douglas-Peucker).

    The table is smoothed to 1 Å first, which the spectrograph cannot resolve.
    """
    kernel = np.exp(-0.5 * (np.arange(-12, 13) * 0.25 / 0.45) ** 2)
    padded = np.pad(table[:, 1], 12, mode="edge")
    curve = np.convolve(padded, kernel / kernel.sum(), "valid")
    keep, stack = {0, len(curve) - 1}, [(0, len(curve) - 1)]
    while stack:
        a, b = stack.pop()
        line = np.interp(np.arange(a, b + 1), (a, b), (curve[a], curve[b]))
        worst = int(np.argmax(np.abs(curve[a : b + 1] - line)))
        if abs(curve[a + worst] - line[worst]) > tolerance:
            keep.add(a + worst)
            stack += [(a, a + worst), (a + worst, b)]
    chosen = sorted(keep)
    return np.stack([table[chosen, 0], curve[chosen]], 1)


def opened(survey: str) -> tuple[Path, dict[str, Any]]:
    """The file of an instrument, and what it says."""
    print(survey)
    path = PLUGINS / f"zspec_{survey}" / "simulation" / "instrument.toml"
    return path, tomli.loads(path.read_text(encoding="utf-8"))


def store(path: Path, tables: Mapping[str, Mapping[str, Float]]) -> None:
    """Replace the tables in the file: of a camera by its name, of the sky, and of the file."""
    blocks = re.split(r"(?m)^(?=\[)", path.read_text(encoding="utf-8"))
    for i, block in enumerate(blocks):
        name = re.search(r'(?m)^name = "(\w+)"', block)
        owner = name[1] if block.startswith("[[cameras]]") and name else block[1:].split("]")[0]
        for key, table in tables.get(owner if i else "", {}).items():
            text = f"{key} = [\n" + wrapped(table) + "]"
            blocks[i] = re.sub(rf"(?ms)^{key} = \[(?:\n.*?^)?\]$", text, blocks[i])
    path.write_text("".join(blocks), encoding="utf-8")


def wrapped(table: Float) -> str:
    """Rows of a table, several to a line."""
    cells = [f"[{wave:.2f}, {value:.4g}], " for wave, value in table]
    lines = [""]
    for cell in cells:
        if len(lines[-1]) + len(cell) > 96:
            lines.append("")
        lines[-1] += cell
    return "".join(f"  {line.strip()}\n" for line in lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
