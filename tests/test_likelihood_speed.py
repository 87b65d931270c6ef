"""What makes the likelihood fast changes nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from zspec import checkpoint
from zspec.errors import ConfigError
from zspec.estimator import Chunk
from zspec.estimators.likelihood import Likelihood, resolution, rounded
from zspec.joint.proposed import Proposed
from zspec.likelihood import nuisance, pixels, places, refine, scan, solve
from zspec.likelihood.basis import STEP, Basis
from zspec.survey import Arm, Spectra

SDSS_WAVE = 10 ** (np.arange(35_600, 39_600) * STEP)  # Å
Z = {"GALAXY": 0.31, "QSO": 2.2, "STAR": 2e-4}


@pytest.fixture(scope="module")
def shipped() -> Likelihood:
    return Likelihood.load(checkpoint.find("likelihood"))


def model(basis: Basis) -> np.ndarray:
    """The mean spectrum, and 0.3 standard deviations of every other vector."""
    rest = np.arange(basis.k0, basis.k0 + basis.vectors.shape[1])
    x = np.log10(SDSS_WAVE / (1 + Z[basis.spectype])) / STEP
    c = np.array([1.0] + [0.3] * (len(basis.mean) - 1))
    return np.interp(x, rest, c @ basis.vectors, left=0.0, right=0.0)


def of(*arms: Arm) -> Spectra:
    n = len(arms[0].flux)
    return Spectra(arms, np.arange(n), np.arange(n, dtype=np.int32))


def spectra(flux: np.ndarray, snr: float) -> Spectra:
    sigma = np.median(flux, axis=1, keepdims=True) / snr + 0 * flux
    noisy = flux + sigma * np.random.default_rng(3).standard_normal(flux.shape)
    return of(Arm("A", SDSS_WAVE, noisy.astype(np.float32), (1 / sigma**2).astype(np.float32)))


def mixed(shipped: Likelihood) -> Spectra:
    return spectra(np.array([model(basis) for basis in shipped.bases]), 12.0)


def test_bases_that_are_scanned_together_are_as_they_are_alone(shipped: Likelihood) -> None:
    data = pixels.native(mixed(shipped)[:3].arms)
    sums, extra = pixels.gather(data), nuisance.nuisance(data)
    stars = [b for b in shipped.bases if b.spectype == "STAR"]
    assert len({len(b.vectors) for b in stars}) > 1  # one has fewer vectors, filled up with zeros
    found = scan.together(sums, extra, stars, 0.0, 1)
    for number, basis in enumerate(stars):
        alone = scan.scan(sums, extra, basis)
        full = len(basis.vectors) == max(len(b.vectors) for b in stars)
        limit = 1e-9 if full else 1e-7  # TINY is relative to the mean of more vectors
        assert torch.allclose(found.values[:, number], alone, rtol=limit, atol=1e-6)
        assert found.shifts[0] == basis.shifts[0]


def test_blocks_of_the_window_change_nothing(
    shipped: Likelihood, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pixels.native(mixed(shipped)[:2].arms)
    sums, extra = pixels.gather(data), nuisance.nuisance(data)
    basis = shipped.bases[-1]
    blocks = scan.scan(sums, extra, basis)
    monkeypatch.setattr(scan, "FEW", 0)
    scan.tables.cache_clear()
    assert torch.allclose(scan.scan(sums, extra, basis), blocks, rtol=1e-9, atol=1e-6)
    scan.tables.cache_clear()


@pytest.mark.parametrize("number", [0, 1])
def test_a_coarse_scan_ends_at_the_same_redshift(shipped: Likelihood, number: int) -> None:
    basis = shipped.bases[number]
    data = pixels.native(spectra(model(basis)[None], 8.0).arms)
    sums, extra, rows = pixels.gather(data), nuisance.nuisance(data), torch.tensor([0])
    prepared, ends = refine.prepare(data), []
    for step in (1, scan.STEPS[basis.spectype]):
        one = scan.together(sums, extra, [basis], 0.0, step)
        start = refine.minima(
            one.values[:, 0], int(one.shifts[0]), 1, basis.separation, step
        ).shift[0]
        ends.append(refine.refine(prepared, basis, rows, start, torch.tensor([True])))
    assert float(ends[0].shift) == pytest.approx(
        float(ends[1].shift), abs=0.05 * float(ends[0].sigma)
    )
    assert float(ends[0].value) == pytest.approx(float(ends[1].value), abs=0.05)


def test_a_design_is_the_spline_at_each_pixel(shipped: Likelihood) -> None:
    """Of several candidates at once, some of whose pixels lie beyond the ends of their basis."""
    wave = np.concatenate([np.arange(3600.0, 5800, 0.8), np.arange(5760.0, 9800, 0.8)])
    one = np.ones((1, len(wave)), np.float32)
    data = pixels.native([Arm("A", np.sort(wave), one, one)])
    bases, which = shipped.bases[:2], torch.tensor([0, 1, 0])
    shift = torch.tensor([0.3, 7400.7, 4700.1], dtype=torch.float64)
    at = places.lookup(bases, [0.0, 0.0], data).at(which, shift)
    c = torch.linspace(1, 0.1, 3 * at.table.shape[1]).double().view(3, -1)
    assert isinstance(at, places.Scattered)
    design = at.design(data.flux.expand(3, -1))
    curves = at.mixed(c)
    assert torch.allclose((c[:, None] @ design)[:, 0], curves, rtol=1e-10, atol=1e-10)
    for i, (k, s) in enumerate(zip(which.tolist(), shift.tolist(), strict=True)):
        padded = np.pad(bases[k].vectors, ((0, 0), (40, 40)))
        place = np.log10(np.sort(wave)) / STEP - s - bases[k].k0 + 40
        expected = [ndimage.map_coordinates(v, [place], order=3, mode="constant") for v in padded]
        near = np.abs(place - place.clip(30, padded.shape[1] - 30)) == 0
        found = design[i, : len(padded)].numpy()
        assert np.allclose(found[:, near], np.array(expected)[:, near], rtol=1e-6, atol=1e-7)
        assert not found[:, place < 0].any()
        assert not found[:, place > padded.shape[1]].any()


def test_polynomials_of_arms_are_as_those_of_all_pixels(shipped: Likelihood) -> None:
    arm = mixed(shipped)[:2].arms[0]
    cut = (slice(1500), slice(1400, 3000), slice(3000, None))
    arms = [Arm(str(i), arm.wave[p], arm.flux[:, p], arm.ivar[:, p]) for i, p in enumerate(cut)]
    data = pixels.native(arms)
    lower, made = nuisance.orthonormal(data), refine.prepare(data)
    whole = torch.linalg.solve_triangular(lower, made.root[:, None] * data.polynomials, upper=False)
    gram = whole @ whole.mT  # 1 but for the prior, whose share of it the arms do not mix
    near = torch.eye(3, dtype=torch.float64).kron(torch.ones(3, 3, dtype=torch.float64))
    assert not (gram * (1 - near)).any()
    assert float(torch.linalg.eigvalsh(gram).max()) < 1
    assert float(gram.diagonal(dim1=1, dim2=2).min()) > 0.9
    for number, part in enumerate(data.arms):
        assert torch.allclose(
            made.sides[:, :-1, part], whole[:, pixels.own(number), part], atol=1e-12
        )
    signal = made.root * data.flux
    left = signal - ((whole @ signal[..., None]).mT @ whole)[:, 0]
    assert torch.allclose(made.residual, left, atol=1e-9)
    extra = nuisance.nuisance(data)
    placed = pixels.on_grid(data, data.ivar[:, None] * data.polynomials)
    expected = torch.linalg.solve_triangular(lower, placed, upper=False)
    assert torch.allclose(extra.weighted, expected, rtol=1e-9, atol=1e-9)
    assert torch.allclose(extra.fitted, made.fitted, rtol=1e-9, atol=1e-9)


def test_widths_are_half_a_pixel_or_a_tenth_apart() -> None:
    given = np.linspace(0.0, 80.0, 4001)
    found = rounded(given)
    assert np.array_equal(np.unique(found)[:11], np.arange(11) / 2)
    assert len(np.unique(found)) < 42
    off = np.abs(found - given)
    assert bool(np.all(off <= np.maximum(0.2501, 0.0501 * given)))
    one = np.ones((2, 3), np.float32)
    each = Arm("A", np.array([5000.0, 5001.0, 5002.0]), one, one, resolution=4 * one)
    shared = dataclasses.replace(each, resolution=4 * one[0])
    assert np.array_equal(resolution([each]), resolution([shared]))


def test_pixels_of_the_grid_are_fitted_like_any_others(
    shipped: Likelihood, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = refine.prepare(pixels.native(mixed(shipped)[:1].arms))
    given = shipped.bases[0], torch.tensor([0]), torch.tensor([1172.3]).double()
    fast = refine.refine(data, *given, torch.tensor([True]))
    monkeypatch.setattr(pixels.Native, "consecutive", False)
    slow = refine.refine(data, *given, torch.tensor([True]))
    assert float(fast.shift) == pytest.approx(float(slow.shift), abs=1e-7)
    assert torch.allclose(fast.model, slow.model, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("consecutive", [True, False])
@pytest.mark.parametrize("budget", [1, 10**9])
def test_classes_that_are_fitted_together_are_as_they_are_alone(
    shipped: Likelihood, monkeypatch: pytest.MonkeyPatch, consecutive: bool, budget: int
) -> None:
    monkeypatch.setattr(pixels.Native, "consecutive", consecutive)
    data, bases = refine.prepare(pixels.native(mixed(shipped).arms)), shipped.bases
    rows = torch.arange(len(bases))
    z = torch.tensor([Z[basis.spectype] for basis in bases], dtype=torch.float64)
    shifts, patient = torch.log10(1 + z) / STEP + 0.4, rows % 2 == 0
    sigmas = [1.5 if basis.spectype == "QSO" else 0.0 for basis in bases]
    alone = [
        refine.refine(data, *each, patient[i : i + 1], sigmas[i])
        for i, each in enumerate(zip(bases, rows.split(1), shifts.split(1), strict=True))
    ]
    monkeypatch.setattr(refine, "BUDGET", budget)
    found = refine.refine_all(data, bases, sigmas, rows, rows, shifts, patient)
    names = ("shift", "sigma", "value", "chi2", "unexplained", "spike", "light", "own", "model")
    for name in names:
        single = torch.cat([getattr(fit, name) for fit in alone])
        assert torch.allclose(getattr(found, name), single, rtol=1e-7, atol=1e-6), name


def test_minima_that_cannot_win_change_no_answer(
    shipped: Likelihood, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Chunk(mixed(shipped))
    hasty = shipped.predict(data)
    monkeypatch.setattr(solve, "HOPELESS", (np.inf, 0.0))
    patient = shipped.predict(data)
    row = np.arange(len(patient.best))
    assert np.array_equal(hasty.best, patient.best)
    best = [one.z[row, one.best] for one in (hasty, patient)]
    assert np.allclose(*best, rtol=0, atol=1e-12)  # products are summed in blocks of other sizes
    assert np.allclose(hasty.prob, patient.prob, rtol=0, atol=1e-5)  # theirs are e-22 at most
    assert np.array_equal(hasty.zwarn, patient.zwarn)
    assert np.array_equal(hasty.candidates.label >= 0, patient.candidates.label >= 0)
    assert not np.array_equal(hasty.z, patient.z, equal_nan=True)  # others had no fit


def test_what_cannot_win_is_listed_as_the_scan_has_it(shipped: Likelihood) -> None:
    found = next(one for _, _, one in shipped.solutions(mixed(shipped).arms))
    assert found.hopeless is not None
    assert bool((found.hopeless & ~found.fitted).any(1).all())
    behind = found.value - found.value.amin(1, keepdim=True)
    unfitted = found.hopeless & ~found.fitted
    assert bool((behind[unfitted] > solve.HOPELESS[0]).all())
    assert bool(found.chi2[unfitted].isnan().all())
    last = torch.where(found.fitted, found.value, -torch.inf).amax(1, keepdim=True)
    assert bool((found.value > last)[unfitted].all())
    said = shipped.predict(Chunk(mixed(shipped)))
    assert bool(np.isfinite(said.candidates.z[:, :3]).all())
    assert bool(np.isfinite(said.candidates.chi2[:, :2]).all())  # the runner-up is always fitted
    assert bool(np.isnan(said.candidates.chi2).any())


def test_hopeless_minima_stay_so_when_they_are_fitted(
    shipped: Likelihood, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The margin: the fit leaves them at more than half of the distance that the scan saw."""
    data = mixed(shipped)
    [(_, _, hasty)] = shipped.solutions(data.arms)
    limit = solve.HOPELESS
    monkeypatch.setattr(solve, "HOPELESS", (np.inf, 0.0))
    [(_, _, fitted)] = shipped.solutions(data.arms)
    assert hasty.hopeless is not None
    gone = hasty.hopeless & fitted.fitted
    behind = fitted.value - fitted.value.amin(1, keepdim=True)
    seen = behind[gone]
    assert len(seen) > 20
    assert bool((seen > limit[0] / 2).all())


def test_a_row_is_the_same_whatever_the_batch(shipped: Likelihood) -> None:
    data = mixed(shipped)
    together = shipped.predict(Chunk(data))
    alone = [shipped.predict(Chunk(data[i : i + 1])) for i in range(0, len(data), 3)]
    for name in ("z", "sigma", "prob", "chi2", "deltachi2"):
        rows = np.concatenate([getattr(one, name) for one in alone])
        assert np.allclose(
            getattr(together, name)[::3], rows, rtol=1e-6, atol=1e-8, equal_nan=True
        ), name
    assert np.array_equal(together.zwarn[::3], np.concatenate([one.zwarn for one in alone]))


@pytest.mark.parametrize(("first", "count"), [(0, 12), (2000, 40), (0, 160), (3200, 400)])
def test_a_row_with_few_good_pixels_is_the_same_beside_full_rows(
    shipped: Likelihood, first: int, count: int
) -> None:
    """In two arms, in one of which it has no more than so many; in the other it has none."""
    arm = mixed(shipped)[:3].arms[0]
    ivar = arm.ivar.copy()
    ivar[0] = 0
    ivar[0, first : first + count] = arm.ivar[0, first : first + count]
    arms = [
        Arm(name, arm.wave[part], arm.flux[:, part], ivar[:, part])
        for name, part in (("B", slice(2000)), ("R", slice(2000, None)))
    ]
    one = [dataclasses.replace(a, flux=a.flux[:1], ivar=a.ivar[:1], good=None) for a in arms]
    alone, beside = (shipped.predict(Chunk(of(*a)), frozenset({"model"})) for a in (one, arms))
    for name in ("z", "sigma", "prob", "chi2", "deltachi2"):
        mine, other = getattr(alone, name)[0], getattr(beside, name)[0]
        assert np.allclose(mine, other, rtol=1e-4, atol=1e-5, equal_nan=True), name
    assert (alone.zwarn[0], alone.best[0]) == (beside.zwarn[0], beside.best[0])
    for mine, other in zip(alone.model or (), beside.model or (), strict=True):
        assert np.allclose(mine[0], other[0], rtol=1e-4, atol=1e-5)


def test_ends_without_data_cost_nothing_and_change_nothing(shipped: Likelihood) -> None:
    arm = mixed(shipped)[:4].arms[0]
    more = 10 ** (np.arange(35_100, 40_300) * STEP)
    wider = [np.zeros((4, len(more)), np.float32) for _ in range(2)]
    for out, values in zip(wider, (arm.flux, arm.ivar), strict=True):
        out[:, 500:-700] = values
    padded = Arm("A", more, *wider)
    kept, columns = pixels.trimmed(pixels.native([padded]))
    assert len(kept.waves[0]) == len(columns) == len(arm.wave)
    first, second = (shipped.predict(Chunk(of(a)), frozenset({"model"})) for a in (arm, padded))
    assert np.allclose(first.z, second.z, atol=1e-8, rtol=0, equal_nan=True)
    assert first.model is not None
    assert second.model is not None
    assert np.allclose(first.model[0], second.model[0][:, 500:-700], rtol=1e-5, atol=1e-6)
    assert not second.model[0][:, :500].any()


def test_pixels_of_the_grid_are_put_on_it_as_any_others_are(
    shipped: Likelihood, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pixels.native(mixed(shipped)[:2].arms)
    fast = pixels.gather(data)
    monkeypatch.setattr(pixels, "_aligned", lambda waves: None)
    slow = pixels.gather(data)
    for name in ("weight", "weighted", "square"):
        ours, theirs = getattr(fast, name), getattr(slow, name)
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-9 * float(theirs.abs().max())), name


@pytest.mark.parametrize("move", [0.2, 1e-9])
def test_only_pixels_at_the_grids_own_places_are_put_there(move: float) -> None:
    k = np.arange(35_600, 35_700)
    arm = Arm("A", 10 ** ((k + move) * STEP), np.ones((1, 100)), np.ones((1, 100)))
    data = pixels.native([arm])
    found, first = pixels.gather(data).weight[0], 35_600 - data.window.start
    assert data.consecutive
    assert float(found[first]) == pytest.approx(1 - move if move > 0.1 else 1.0, abs=1e-6)
    assert float(found[first + 100]) == pytest.approx(move if move > 0.1 else 0.0, abs=1e-6)


def test_the_slope_of_a_mixture_is_its_change_with_the_shift(shipped: Likelihood) -> None:
    data, basis = pixels.native(mixed(shipped)[:1].arms), shipped.bases[0]
    which, c = torch.tensor([0]), torch.linspace(1, 0.1, len(basis.mean)).double()[None]
    table = places.lookup([basis], [0.0], data)
    shifts = torch.tensor([[1172.3 - 1e-4], [1172.3], [1172.3 + 1e-4]], dtype=torch.float64)
    low, at, high = (table.at(which, shift) for shift in shifts)
    change = (high.mixed(c) - low.mixed(c)) / 2e-4
    assert torch.allclose(-at.sloped(c), change, atol=1e-6 * float(change.abs().max()))


def test_bins_that_minima_cover_are_shares_of_each() -> None:
    edges = torch.linspace(0.0, 1.0, 11, dtype=torch.float64)
    none = torch.zeros(1, dtype=torch.float64)
    known = Proposed(torch.zeros(1, 1, 10).double(), edges, ("GALAXY",), none, none, 0.0)
    low = torch.tensor([[0.05, torch.nan], [-1.0, 0.98]], dtype=torch.float64)
    expected = torch.zeros(2, 2, 10, dtype=torch.float64)
    expected[0, 0, :3] = torch.tensor([0.5, 1.0, 0.5])
    expected[1, 1, 9] = 0.2
    assert torch.allclose(known.covered(low, low + 0.2), expected, atol=1e-12)
    found = known.summed(low, low + 0.2, torch.tensor([1, 1]), 2)
    assert torch.allclose(found[:, 1], expected.sum(1), atol=1e-12)
    assert not found[:, 0].any()


def test_a_device_without_float64_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="float64") as caught:
        Likelihood.load(checkpoint.find("likelihood"), "mps")
    assert "\n" not in str(caught.value)
    assert Likelihood.load(checkpoint.find("likelihood"), "cpu").device == "cpu"
