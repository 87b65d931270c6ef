"""From published templates and labelled real spectra to the families: ``zspec train sources``.

No published vector is shipped: each basis is learned by weighted factorisation, or by singular
vectors, of spectra of all of its sources together. What a spectrum cannot show is taken out before:
emission lines of galaxies (they are drawn apart), and the Lyman forest of quasars.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zspec import checkpoint
from zspec.errors import ConfigError
from zspec.likelihood.basis import STEP, blur
from zspec.likelihood.interpolation import coefficients
from zspec.likelihood.labelled import listed
from zspec.likelihood.learn import Coefficients, Rows, factorise, fit, observed, stack
from zspec.likelihood.sources import KINDS, level_mask, place
from zspec.likelihood.templates import Template, read_template
from zspec.likelihood.train import Labelled, label
from zspec.simulate.sources.bridging import bridged, strengths, template_strengths, without_lines
from zspec.simulate.sources.density import kernels
from zspec.simulate.sources.families import Family
from zspec.simulate.sources.forest import mean_transmission
from zspec.simulate.sources.starlearn import learn_stars

log = logging.getLogger("zspec")

Array = NDArray[np.float64]

ROUNDS = 8
"""How often the prior of a bank is taken from what makes sense under it."""
LIMIT = 912.0
"""Å: below it no spectrum at hand shows the source itself."""


def train(recipe: Mapping[str, Any], shared: Path, out: Path) -> None:
    """Learn the three families of a recipe from files below ``shared``; write checkpoint ``out``.

    Without the key ``manifest`` no real spectrum is looked at: published templates are all. Raises
    ConfigError for a recipe, and InputError for data, that make no sense.
    """
    try:
        templates = shared / recipe["templates"]
        lines = [
            (line, label(line, one))
            for line, one in (listed(shared / recipe["manifest"]) if "manifest" in recipe else ())
            if line["label_ok"] == "1"
        ]
        families = [
            learn_galaxies(recipe["galaxy"], templates, _of(lines, "GALAXY")),
            learn_quasars(recipe["quasar"], templates, _of(lines, "QSO")),
            learn_stars(recipe["star"], templates, _of(lines, "STAR")),
        ]
    except KeyError as error:
        raise ConfigError(f"recipe: key {error} is missing") from None
    meta: dict[str, Any] = {f.name: f.header() for f in families}
    meta |= {"holds": "sources", "recipe": dict(recipe), "seed": recipe["seed"]}
    meta["figures"] = {f.name: len(f.bank) for f in families}
    checkpoint.save(out, {k: v for f in families for k, v in f.tensors().items()}, meta)
    log.info("%s: %s", out, ", ".join(f"{len(f.bank)} of {f.name}" for f in families))


def _of(lines: Sequence[tuple[dict[str, str], Labelled]], spectype: str) -> list[Labelled]:
    """The labelled spectra of one class."""
    return [one for _, one in lines if one.spectype == spectype]


def learn_galaxies(entry: Mapping[str, Any], folder: Path, real: Sequence[Labelled]) -> Family:
    """Continua of galaxies without emission lines, and the EW of Hα of each where it is known."""
    span = _span(entry)
    seen = [without_lines(_rest(one, span)) for one in real]
    groups = [0] * len(seen)
    widths = [strengths(_rest(one, span), kept) for one, kept in zip(real, seen, strict=True)]
    names, reference = ["real"] if real else [], _reference(entry, folder)
    parts = [_rescaled(rows, reference) for rows in seen]
    for source in entry["sources"]:
        template = read_template(folder / source["file"])
        template = _blurred(template, source)
        bare = Template(template.k0, bridged(template), template.coefficients)
        spectra, lines = (_spectra(t, source) for t in (bare, template))
        placed = place(bare, spectra, source["snr"], entry["level"], span)
        parts.append(placed)
        groups += [len(names)] * len(placed)
        widths += template_strengths(template, spectra, lines)
        names.append(source["name"])
    ew = np.array(widths, np.float32)
    made = _family("galaxy", entry, stack(parts), np.array(groups), names, {"ew_halpha": ew})
    breaks = dn4000(made.bank @ made.vectors, made.wave)
    filled = {"ew_halpha": expected(made.facts["ew_halpha"], breaks), "break": breaks}
    return dataclasses.replace(made, facts={**made.facts, **filled})


def dn4000(flux: torch.Tensor, wave: torch.Tensor) -> NDArray[np.float32]:
    """(n,) narrow 4000 Å break: mean f_nu of 4000-4100 over 3850-3950 Å; Balogh+1999."""
    sides = []
    for low, high in ((3850, 3950), (4000, 4100)):
        at = (wave >= low) & (wave < high)
        sides.append((flux[:, at] * wave[at] ** 2).mean(1))
    return np.asarray((sides[1] / sides[0].clamp(min=1e-3)).clamp(max=3.0).numpy(), np.float32)


def expected(ew: NDArray[np.float32], breaks: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) EW of Hα in Å; where it was not seen, that of the galaxy with the nearest break."""
    known = np.nonzero(np.isfinite(ew))[0]
    nearest = np.abs(breaks[:, None] - breaks[known]).argmin(1)
    return np.where(np.isfinite(ew), ew, ew[known][nearest])


def learn_quasars(entry: Mapping[str, Any], folder: Path, real: Sequence[Labelled]) -> Family:
    """Quasars as they would be seen without anything between us and them.

    Real ones are the bank, each known near its own redshift, and published ones only help to learn
    the basis. Without real ones those are the bank, known everywhere: their redshift is NaN.
    """
    span = _span(entry)
    reference = _reference(entry, folder)
    seen = [_rescaled(_unabsorbed(_rest(one, span), one.z), reference) for one in real]
    z = [one.z for one in real]
    extra = []
    for source in entry["sources"]:
        template = _blurred(read_template(folder / source["file"]), source)
        spectra = KINDS[source["kind"]](template, source, seen, np.random.default_rng(0))
        extra.append(place(template, spectra, source["snr"], entry["level"], span))
    rows, names = (stack(seen), ["real"]) if real else (stack(extra), ["published"])
    if not real:
        z, extra = [math.nan] * len(rows), []
    groups = np.zeros(len(rows), np.int64)
    facts = {"z": np.array(z, np.float32)}
    return _family("quasar", entry, rows, groups, names, facts, extra)


def _family(
    name: str,
    entry: Mapping[str, Any],
    rows: Rows,
    groups: NDArray[np.int64],
    names: Sequence[str],
    facts: Mapping[str, NDArray[np.float32]],
    helpers: Sequence[Rows] = (),
) -> Family:
    """Factorise rows and helpers; the bank holds the coefficients of the rows alone."""
    thin = _thinned(rows, groups, entry["most"])
    vectors, found = factorise(stack([thin, *helpers]), entry["vectors"], entry["iterations"])
    vectors = _finished(vectors, entry, rows.k0)
    kept, level, good = _coefficients(rows, vectors, found, entry)
    bank = kept[good] / level[good, None]
    stored = {k: v[good.numpy()] for k, v in facts.items()}
    stored["group"] = groups[good.numpy()].astype(np.float32)
    family = Family(
        name=name,
        start=rows.k0 * STEP,
        step=STEP,
        vectors=vectors.float(),
        bank=bank.float(),
        kernel=kernels(bank, groups[good.numpy()], len(names)).float(),
        facts=stored,
        groups=tuple(names),
    )
    log.info("%s: %d vectors, %d rows of %d kept", name, len(vectors), len(bank), len(rows))
    return family


def _coefficients(
    rows: Rows, vectors: torch.Tensor, found: Coefficients, entry: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(n, K) coefficients of all rows, (n,) their levels, and (n,) whether they make sense.

    Where a spectrum was not seen, the prior decides. The Gaussian of all rows is no good one: the
    few that run away widen it. So the prior is that of the rows that make sense, a few times over.
    """
    spline = coefficients(vectors)
    sane = level_mask(entry["sane"], _span(entry)) & _reached(rows, entry.get("reach"))
    band = vectors[:, level_mask(entry["level"], _span(entry))].mean(1)
    for _ in range(ROUNDS):
        found = fit(rows, spline, found)
        level = found.values @ band
        lowest = torch.where(sane, found.values @ vectors, math.inf).amin(1)
        good = (level > 0.2) & (level < 5) & (lowest > entry["floor"] * level)
        kept = found.values[good]
        spread = torch.cov(kept.T, correction=0)
        found = Coefficients(found.values, kept.mean(0), spread)
    return found.values, level, good


def _reached(rows: Rows, reach: float | None) -> torch.Tensor:
    """(n, pixel) what lies within ``reach`` in ln λ of where a spectrum was seen; None: all."""
    if reach is None:
        return torch.ones_like(rows.weight, dtype=torch.bool)
    size = round(reach / (STEP * math.log(10)))
    seen = (rows.weight > 0).float()[:, None]
    return torch.nn.functional.max_pool1d(seen, 2 * size + 1, 1, size)[:, 0] > 0


def _thinned(rows: Rows, groups: NDArray[np.int64], most: int) -> Rows:
    """At most so many rows of each group, evenly: a factorisation need not see all."""
    chosen: list[int] = []
    for group in np.unique(groups):
        index = np.nonzero(groups == group)[0]
        chosen += index[:: max(1, -(-len(index) // most))].tolist()
    at = torch.tensor(chosen)
    return Rows(rows.k0, rows.flux[at], rows.weight[at], rows.phase[at])


def _span(entry: Mapping[str, Any]) -> tuple[int, int]:
    """First and last grid index of a basis."""
    low, high = (round(np.log10(edge) / STEP) for edge in entry["wave"])
    return low, high


def _rest(one: Labelled, span: tuple[int, int]) -> Rows:
    """A real spectrum on the columns of a basis."""
    return observed(one.sums, one.z, span[0], span[1] - span[0])


def _reference(entry: Mapping[str, Any], folder: Path) -> torch.Tensor:
    """(pixel,) a typical spectrum with mean 1 in the family's level; NaN where it is not known."""
    template = read_template(folder / entry["reference"])
    spectra = _spectra(template, {"kind": "draws"}).mean(0, keepdims=True)
    rows = place(template, spectra, 1.0, entry["level"], _span(entry))
    return torch.where(rows.weight[0] > 0, rows.flux[0], math.nan)


def _rescaled(rows: Rows, reference: torch.Tensor) -> Rows:
    """A spectrum scaled as if its level had been seen: by its ratio to the reference.

    Without this, what redshift it has would decide how bright its shape counts.
    """
    both = (rows.weight[0] > 0) & torch.isfinite(reference)
    weight, flux = rows.weight[0, both], rows.flux[0, both]
    known = reference[both]
    scale = (weight * flux * known).sum() / (weight * known**2).sum().clamp(min=1e-300)
    scale = scale.clamp(min=1e-3)
    return Rows(rows.k0, rows.flux / scale, rows.weight * scale**2, rows.phase)


def _blurred(template: Template, source: Mapping[str, Any]) -> Template:
    """A template as broad as real spectra are."""
    vectors = blur(template.vectors, source.get("blur", 0.0))
    return Template(template.k0, vectors, template.coefficients, template.subtypes)


def _spectra(template: Template, source: Mapping[str, Any]) -> Array:
    """All that a template file shows: its draws, or else its vectors."""
    if source["kind"] == "draws" and template.coefficients is not None:
        return np.asarray(template.coefficients @ template.vectors)
    return template.vectors


def _unabsorbed(rows: Rows, z: float) -> Rows:
    """A quasar divided by the mean transmission; nothing is known below the Lyman limit.

    The forest's own scatter counts as noise: half of the flux.
    """
    index = torch.arange(rows.k0, rows.k0 + rows.flux.shape[1], dtype=torch.float64)
    wave = 10 ** ((index + rows.phase) * STEP)
    through = mean_transmission(wave[None], torch.tensor([z], dtype=torch.float64))
    forest = through < 1
    noise = torch.where(forest, 0.25, 0.0)
    weight = torch.where(rows.weight > 0, 1 / (1 / (rows.weight * through**2) + noise), 0.0)
    weight = torch.where(wave[None] > LIMIT * 1.02, weight, 0.0)
    return Rows(rows.k0, rows.flux / through.clamp(min=0.05), weight, rows.phase)


def _finished(vectors: torch.Tensor, entry: Mapping[str, Any], k0: int) -> torch.Tensor:
    """Smoothed where no feature is sharp, and carried on beyond what the data cover."""
    made = torch.from_numpy(blur(vectors.numpy(), entry["soften"]))
    index = torch.arange(k0, k0 + made.shape[1], dtype=torch.float64)
    wave = 10 ** (index * STEP)
    low, high = entry["known"]
    blue, red = int((wave < low).sum()), int((wave <= high).sum())
    slope = entry.get("blue_slope", 0.0)
    base = made[:, blue : blue + 60].mean(1, keepdim=True)
    made[:, :blue] = base * (wave[:blue] / low) ** slope
    base = made[:, red - 60 : red].mean(1, keepdim=True)
    made[:, red:] = base * (wave[red:] / high) ** entry.get("red_slope", 0.0)
    return made
