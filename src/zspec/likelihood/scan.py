"""chi2 at every redshift at once.

For a basis B shifted by s grid pixels, and nuisance polynomials p (three for each arm, the same in
every class),

    A_kl(s) = Σ_j w_j B_k(j-s) B_l(j-s)
    b_k(s)  = Σ_j (wd)_j B_k(j-s)
    C_pk(s) = Σ_j (wp)_j B_k(j-s)

are correlations, hence products in Fourier space. With the polynomials made orthonormal under w and
their prior, which is Gaussian, and y_p = Σ ivar d p, they are projected out: A' = A - CᵀC,
b' = b - Cᵀy, and

    chi2(s) = Σ ivar d² - yᵀy - b'ᵀ A'⁻¹ b'.

The Gaussian prior on the shape (the coefficients relative to the amplitude, by the statistics of
the training set) adds its quadratic form to A', and the Occam factor of the coefficients, ln det A'
less ln det of the prior, makes classes with different numbers of vectors comparable. Here the
amplitude is that of the mean spectrum alone; the final fit finds it in two rounds, which here
gained nothing. All in float64: float32 moved minima of quasars.

What makes it fast: classes are scanned in steps of up to six grid pixels (the final fit, on native
pixels, does the rest); stars, with few shifts, in short blocks and all types at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from scipy import fft

from zspec.likelihood.basis import Basis, broadened
from zspec.likelihood.evidence import amplitude, lift, occam, quadratic, subtract_outer
from zspec.likelihood.nuisance import Nuisance
from zspec.likelihood.pixels import Sums, Window

BUDGET = 4_000_000
"""Complex numbers that one block of spectra may hold per class: about 64 MB."""
DEVICE_BUDGET = 200_000_000
"""The same beside a CPU, where small blocks leave most of a device idle: about 3 GB."""
STEPS = {"GALAXY": 3, "QSO": 6, "STAR": 1}
"""Grid pixels per step of the scan, by spectype: quasars' lines are broad, and the final fit finds
the exact minimum between steps. (redrock's steps are 3, 5 and less than 1.)"""
EVEN = 64
"""Lengths of transforms are multiples of it: odd ones, as 3375 = 15³, take twice as long."""
FEW = 240
"""Where a scan has fewer shifts than this, signals are cut into blocks of so many pixels. Windows
hold a whole number of them."""


@dataclass(frozen=True)
class Scan:
    """-2 ln evidence of G classes at shifts that are a constant step apart."""

    values: torch.Tensor
    """(n, G, S) the same everywhere for a spectrum without data."""
    shifts: torch.Tensor
    """(S,) grid pixels."""
    step: int
    """Between them."""


@dataclass(frozen=True)
class Tables:
    """Fourier transforms of G bases of one range and their products, for one window.

    Windows are cut into blocks, whose correlations add up in Fourier space: with few shifts short
    transforms do.
    """

    first: torch.Tensor
    """Of B_k, G * K vectors; see :func:`_prepare`."""
    products: torch.Tensor
    """Of B_k B_l, k <= l, G * pairs vectors."""
    groups: int
    """G."""
    block: int
    """Length of a block."""
    pairs: torch.Tensor
    """(2, pairs) k and l."""
    precision: torch.Tensor
    """(G, pairs) of the prior on the shape."""
    size: int
    """Length of the transforms."""
    shifts: torch.Tensor
    """(S,) in grid pixels."""


@lru_cache(maxsize=128)
def tables(
    bases: tuple[Basis, ...], window: Window, sigma: float, step: int, device: torch.device
) -> Tables:
    """What correlations with ``bases`` need, broadened by ``sigma`` grid pixels, every ``step``."""
    shifts = places(bases[0], step)
    count, length = len(shifts), window.length // step
    block = FEW // step if count < FEW // step else length
    size = EVEN * fft.next_fast_len(-(-(block + count - 1) // EVEN), real=True)
    most = max(len(basis.vectors) for basis in bases)
    rest = torch.stack([_widened(_stretch(basis, window, sigma, step), most) for basis in bases])
    k, m = torch.triu_indices(most, most)
    cut = rest.unfold(-1, block + count - 1, block).movedim(-2, 0)  # (block, G, K, block + S - 1)
    precision = torch.stack([certain(basis.precision, most)[k, m] for basis in bases])
    return Tables(
        first=_prepare(cut, count, size).to(device),
        products=_prepare(cut[:, :, k] * cut[:, :, m], count, size).to(device),
        groups=len(bases),
        block=block,
        pairs=torch.stack([k, m]),
        precision=precision.to(device),
        size=size,
        shifts=shifts.to(device),
    )


def places(basis: Basis, step: int) -> torch.Tensor:
    """(S,) shifts of a scan: every ``step`` grid pixels, to both ends of a basis' range."""
    low, high = math.floor(basis.shifts[0] / step), math.ceil(basis.shifts[1] / step)
    return torch.arange(low, high + 1, dtype=torch.float64) * step


@lru_cache(maxsize=128)
def _stretch(basis: Basis, window: Window, sigma: float, step: int) -> torch.Tensor:
    """(K, length / step + S - 1) vectors in bins of ``step``, all that a window meets at S shifts.

    At the last shift it sees the first bins.
    """
    shifts = places(basis, step)
    start, wide = window.start - int(shifts[-1]), window.length + (len(shifts) - 1) * step
    return placed(basis, start, wide, sigma).view(len(basis.vectors), -1, step).mean(-1)


def _widened(vectors: torch.Tensor, count: int) -> torch.Tensor:
    """(count, ...) vectors, and zeros for those that a basis has fewer than others."""
    return torch.cat([vectors, vectors.new_zeros(count - len(vectors), *vectors.shape[1:])])


def certain(precision: torch.Tensor, count: int) -> torch.Tensor:
    """(count, count) prior of :func:`_widened`: vectors of zeros cost nothing, see ``occam``."""
    out = torch.eye(count, dtype=precision.dtype)
    out[: len(precision), : len(precision)] = precision
    return out


def _prepare(cut: torch.Tensor, count: int, size: int) -> torch.Tensor:
    """Transforms of (block, G, V, length) vectors, turned so that correlations start at S[0].

    Of one block (G * V, freq), complex. Of several (freq, 2 block, 2 G V), real: the sum over
    blocks of complex products as one product of matrices.
    """
    padded = torch.nn.functional.pad(cut, (0, size - cut.shape[-1])).flatten(1, 2)
    transforms = torch.fft.rfft(padded.roll(1 - count, -1)).conj_physical()
    if len(transforms) == 1:
        single: torch.Tensor = transforms[0]
        return single
    both = torch.stack([transforms, 1j * transforms], 1).permute(3, 0, 1, 2)
    return torch.view_as_real(both.contiguous()).flatten(3).flatten(1, 2)


def placed(basis: Basis, start: int, length: int, sigma: float) -> torch.Tensor:
    """(K, length) the vectors on grid pixels ``start`` and up; 0 where the basis has ended."""
    source = broadened(basis, sigma)
    out = torch.zeros(len(source), length, dtype=torch.float64)
    low, high = max(start, basis.k0), min(start + length, basis.k0 + source.shape[1])
    if low < high:
        out[:, low - start : high - start] = source[:, low - basis.k0 : high - basis.k0]
    return out


def scan(sums: Sums, extra: Nuisance, basis: Basis, sigma: float = 0.0) -> torch.Tensor:
    """(n, S) -2 ln evidence at every shift of the basis, from ``basis.shifts[0]`` up.

    That is chi2, plus what the prior on the mixture of vectors adds, plus the Occam factor.

    ``extra`` is the ``nuisance`` of the same spectra, the same for every basis; the basis is
    broadened by ``sigma`` grid pixels. A spectrum without data gives a constant.
    """
    return together(sums, extra, [basis], sigma, 1).values[:, 0]


def scan_all(
    sums: Sums, extra: Nuisance, bases: Sequence[Basis], sigmas: Sequence[float]
) -> Iterator[tuple[list[int], Scan]]:
    """Scans of every basis in steps of its spectype, each broadened by its own sigma.

    Bases of one range, as those of stars, go together: their numbers come with their scans.
    """
    groups: dict[tuple[Any, float, int], list[int]] = {}
    for number, (basis, sigma) in enumerate(zip(bases, sigmas, strict=True)):
        key = ((basis.spectype, basis.shifts), sigma, STEPS[basis.spectype])
        groups.setdefault(key, []).append(number)
    for (_, sigma, step), mine in groups.items():
        yield mine, together(sums, extra, [bases[i] for i in mine], sigma, step)


def steps(bases: Sequence[Basis]) -> torch.Tensor:
    """(basis,) grid pixels between the values of the scan of each."""
    return torch.tensor([STEPS[basis.spectype] for basis in bases])


def together(sums: Sums, extra: Nuisance, bases: Sequence[Basis], sigma: float, step: int) -> Scan:
    """Scans of bases of one range, every ``step`` shifts; models are constant over a step."""
    table = tables(tuple(bases), sums.window, sigma, step, sums.weight.device)
    groups, pairs = table.precision.shape
    vectors = int((table.pairs[0] == table.pairs[1]).sum())
    per_row = groups * (pairs + (extra.fitted.shape[1] + 1) * vectors)
    budget = BUDGET if sums.weight.is_cpu else DEVICE_BUDGET
    block = max(1, budget // (per_row * table.size))
    signals, level = _signals(sums, extra, step)
    values = torch.empty(len(level), groups, len(table.shifts)).to(level)
    for rows in (slice(i, i + block) for i in range(0, len(level), block)):
        values[rows] = _scan(signals[rows], level[rows], extra.fitted[rows], table)
    return Scan(values, table.shifts, step)


def picked(
    sums: Sums, extra: Nuisance, basis: Basis, sigma: float, step: int, wanted: torch.Tensor
) -> Scan:
    """The scan of one basis at the shifts that are ``wanted`` (n, S) alone; inf at the others.

    Products of vectors, shift by shift: where few are wanted that costs less than transforms.
    """
    shifts, length = places(basis, step), sums.window.length // step
    signals, level = _signals(sums, extra, step)
    bins = _stretch(basis, sums.window, sigma, step).to(signals.device).unfold(1, length, 1)
    packed, cross = [], []
    upper = torch.triu_indices(len(bins), len(bins))
    for signal, mine in zip(signals, wanted, strict=True):
        vectors = bins[:, len(shifts) - 1 - mine.nonzero()[:, 0]].movedim(0, 1)  # (s, K, length)
        products = (vectors * signal[0]) @ vectors.mT
        packed.append(products[:, upper[0], upper[1]])
        cross.append((vectors @ signal[1:].T).mT)
    row = wanted.nonzero()[:, 0]
    found = _evidence(
        torch.cat(cross)[..., None],
        torch.cat(packed)[..., None],
        extra.fitted[row],
        basis.precision.to(signals)[upper[0], upper[1]].expand(len(row), -1),
    )
    values = torch.full(wanted.shape, math.inf).to(signals)
    values[wanted] = level[row] + found[:, 0]
    return Scan(values[:, None], shifts.to(signals.device), step)


def _signals(sums: Sums, extra: Nuisance, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 2 + P, length / step) weights, weighted data and polynomials; and (n,) level.

    ``level`` is chi2 of the polynomials alone.
    """
    given = (sums.weight[:, None], sums.weighted[:, None], extra.weighted)
    level = sums.square - (extra.fitted**2).sum(1)
    return torch.cat([_binned(each, step) for each in given], 1), level


def _binned(values: torch.Tensor, step: int) -> torch.Tensor:
    """(..., length / step) sums of so many neighbours: faster so than over a short last axis."""
    return sum((values[..., first::step] for first in range(1, step)), start=values[..., ::step])


def _scan(
    signals: torch.Tensor, level: torch.Tensor, fitted: torch.Tensor, table: Tables
) -> torch.Tensor:
    """(n, G, S) one block of :func:`scan`; see :func:`_signals`."""
    n, groups, count = len(signals), table.groups, len(table.shifts)
    spectrum = torch.fft.rfft(signals.view(*signals.shape[:2], -1, table.block), table.size)
    cross = _correlate(spectrum[:, 1:], table.first, table)  # (n, 1 + P, G, K, S)
    packed = _correlate(spectrum[:, :1], table.products, table)[:, 0].flatten(0, 1)
    cross = cross.movedim(2, 1).flatten(0, 1)  # (n * G, 1 + P, K, S)
    known = fitted.repeat_interleave(groups, 0)  # (n * G, P)
    values = _evidence(cross, packed, known, table.precision.repeat(n, 1))
    return level[:, None, None] + values.view(n, groups, count)


def _evidence(
    cross: torch.Tensor, packed: torch.Tensor, known: torch.Tensor, precision: torch.Tensor
) -> torch.Tensor:
    """(m, S) what a basis changes in -2 ln evidence, from its products; they are destroyed.

    ``cross``: (m, 1 + P, K, S) those with the data and the polynomials, whose coefficients are
    ``known`` (m, P); ``packed``: (m, pairs, S) those with itself; ``precision``: (m, pairs).
    """
    linear = cross[:, 0]
    scale = amplitude(linear[:, 0], packed[:, 0])  # (m, S)
    for p in range(known.shape[1]):
        overlap = cross[:, 1 + p]  # (n * G, K, S)
        linear.addcmul_(overlap, known[:, p, None, None], value=-1)
        subtract_outer(packed, overlap)
    packed.addcmul_(precision[..., None].expand_as(packed), scale.reciprocal()[:, None])
    lift(packed, linear.shape[1])
    explained, volume = quadratic(packed, linear)
    return occam(volume, scale, linear.shape[1]) - explained


def _correlate(spectrum: torch.Tensor, transforms: torch.Tensor, table: Tables) -> torch.Tensor:
    """(n, signal, G, V, S) Σ_j signal_j V(j - s), by increasing s.

    ``spectrum``: (n, signal, block, freq) transforms of signals; ``transforms`` from ``table``.
    """
    if transforms.is_complex():
        product = spectrum * transforms  # (n, signal, V, freq), of one block
    else:
        parts = torch.view_as_real(spectrum).permute(3, 0, 1, 2, 4)  # (freq, n, signal, block, 2)
        summed = parts.flatten(3).flatten(1, 2) @ transforms
        pairs = summed.view(*summed.shape[:2], -1, 2)  # (freq, n * signal, V, 2)
        product = torch.view_as_complex(pairs).movedim(0, -1)
    lags: torch.Tensor = torch.fft.irfft(product, table.size)[..., : len(table.shifts)]
    return lags.reshape(*spectrum.shape[:2], table.groups, -1, len(table.shifts))
