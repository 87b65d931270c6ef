"""Every metric against an independent, slow, obvious implementation."""

from __future__ import annotations

import importlib.util
import math
import statistics as slow
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zspec import metrics
from zspec.errors import ConfigError
from zspec.metrics import statistics
from zspec.metrics.statistics import Median, Spread, Sums, draw, mean

C = 299792.458
redshift = st.floats(-0.01, 6, allow_nan=False)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "z": redshift,
            "z_true": redshift,
            "sigma": st.floats(1e-5, 0.5),
            "prob": st.floats(0, 1),
            "label": st.integers(0, 3),
            "label_true": st.integers(0, 3),
            "zwarn": st.sampled_from([0, 0, 4]),
        }
    ),
    min_size=1,
    max_size=30,
)


def d(r):
    return (r["z"] - r["z_true"]) / (1 + r["z_true"])


def log_bias(r):
    return abs(math.log((1 + r["z_true"]) / (1 + r["z"])))


def normal(x):
    return slow.NormalDist().cdf(x)


def pulls(rs):
    return [(r["z"] - r["z_true"]) / r["sigma"] for r in rs]


def share(conditions):
    conditions = list(conditions)
    return sum(conditions) / len(conditions)


def slow_nmad(rs):
    centre = slow.median(r["z"] - r["z_true"] for r in rs)
    return 1.48 * slow.median(abs(r["z"] - r["z_true"] - centre) / (1 + r["z_true"]) for r in rs)


def slow_mad(values):
    centre = slow.median(values)
    return 1.48 * slow.median(abs(v - centre) for v in values)


def slow_crps(r, steps=20000):
    """The integral of (F(x) - 1[x >= z_true])² by the midpoint rule."""
    low = min(r["z_true"], r["z"]) - 9 * r["sigma"]
    high = max(r["z_true"], r["z"]) + 9 * r["sigma"]
    x = low + (np.arange(steps) + 0.5) * (high - low) / steps
    erf = np.array([math.erf((v - r["z"]) / r["sigma"] / math.sqrt(2)) for v in x])
    return float((((1 + erf) / 2 - (x >= r["z_true"])) ** 2).sum() * (high - low) / steps)


def slow_ece(rs, hit):
    total = 0.0
    for b in range(15):
        mine = [r for r in rs if min(int(r["prob"] * 15), 14) == b]
        if mine:
            gap = slow.fmean(r["prob"] for r in mine) - share(hit(r) for r in mine)
            total += len(mine) / len(rs) * abs(gap)
    return total


def slow_pit(rs):
    u = [normal(-p) for p in pulls(rs)]
    return max(abs(share(v < k / 100 for v in u) - k / 100) for k in range(1, 100))


def slow_recall(rs):
    found = []
    for true in {r["label_true"] for r in rs}:
        mine = [r for r in rs if r["label_true"] == true]
        found.append(share(r["label"] == true for r in mine))
    return slow.fmean(found)


def slow_purity(rs):
    kept = [r for r in rs if r["zwarn"] == 0]
    return share(log_bias(r) < 0.002 for r in kept) if kept else math.nan


SLOW = {
    "bias": lambda rs: slow.median(log_bias(r) for r in rs),
    "offset": lambda rs: slow.median(d(r) for r in rs),
    "gf": lambda rs: share(log_bias(r) < 0.002 for r in rs),
    "right": lambda rs: share(C * abs(d(r)) < 500 for r in rs),
    "star": lambda rs: share(C * abs(d(r)) < 30 for r in rs),
    "dz": lambda rs: slow.fmean(abs(d(r)) for r in rs),
    "mae": lambda rs: slow.fmean(abs(r["z"] - r["z_true"]) for r in rs),
    "nmad": slow_nmad,
    "eta": lambda rs: share(abs(d(r)) > 0.02 for r in rs),
    "cat": lambda rs: share(abs(d(r)) > 0.01 for r in rs),
    "cat_v": lambda rs: share(C * abs(d(r)) > 500 for r in rs),
    "ebar": lambda rs: slow.fmean(r["sigma"] / (1 + r["z_true"]) for r in rs),
    "acc": lambda rs: share(r["label"] == r["label_true"] for r in rs),
    "confusion": slow_recall,
    "t": lambda rs: share(abs(p) <= 3 for p in pulls(rs)),
    "pull": lambda rs: slow_mad(pulls(rs)),
    "cov68": lambda rs: share(normal(abs(p)) * 2 - 1 <= 0.6827 for p in pulls(rs)),
    "cov95": lambda rs: share(normal(abs(p)) * 2 - 1 <= 0.95 for p in pulls(rs)),
    "pit": slow_pit,
    "ece": lambda rs: slow_ece(rs, lambda r: r["label"] == r["label_true"]),
    "ece_z": lambda rs: slow_ece(rs, lambda r: log_bias(r) < 0.002),
    "purity": slow_purity,
    "completeness": lambda rs: share(r["zwarn"] == 0 and log_bias(r) < 0.002 for r in rs),
    "eff": lambda rs: 1 / (slow_mad(pulls(rs)) ** 2 or math.nan),
}
THR = {"gf": 0.002, "right": 500, "cat_v": 500, "ece_z": 0.002, "purity": 0.002}
THR |= {"completeness": 0.002}


def compute(name, rs):
    metric = metrics.BY_NAME[name]
    column = {"bound": "sigma", "zconf": "prob"}
    arrays = [np.array([r[column.get(need, need)] for r in rs]) for need in metric.needs]
    thr = metric.thr["STAR"] if name == "star" else metric.thr
    more = {} if thr is None else {"thr": THR.get(name, thr)}
    return metric.scale * metric.function(*arrays, **more).value


@pytest.mark.parametrize("name", SLOW)
@settings(max_examples=40, deadline=None)
@given(rs=rows)
def test_against_the_obvious(name, rs):
    expected = SLOW[name](rs)
    got = compute(name, rs)
    if not (name == "eff" and math.isnan(expected)):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=8, deadline=None)
@given(rs=rows.map(lambda rs: rs[:2]))
def test_crps_is_the_integral(rs):
    expected = slow.fmean(slow_crps(r) for r in rs)
    assert compute("crps", rs) == pytest.approx(expected, rel=2e-3, abs=1e-6)


def test_crps_without_sigma_is_the_mean_error():
    z, true = np.array([0.1, 0.5]), np.array([0.2, 0.2])
    tiny = metrics.BY_NAME["crps"].function(z, true, np.full(2, 1e-12)).value
    assert tiny == pytest.approx(metrics.BY_NAME["mae"].function(z, true).value)


@settings(max_examples=20, deadline=None)
@given(rs=rows)
def test_velocity_forms_are_c_times(rs):
    for name in ("offset", "dz", "nmad", "ebar"):
        assert compute(f"{name}_v", rs) == pytest.approx(C * compute(name, rs))
        assert metrics.BY_NAME[f"{name}_v"].unit == "km/s"


def test_every_metric_is_tested_here():
    tested = set(SLOW) | {"crps"} | {f"{n}_v" for n in ("offset", "dz", "nmad", "ebar")}
    assert tested == set(metrics.BY_NAME)


def test_an_honest_gaussian():
    rng = np.random.default_rng(1)
    true = rng.uniform(0, 3, 20000)
    sigma = rng.uniform(1e-4, 1e-2, 20000)
    z = rng.normal(true, sigma)
    values = {n: metrics.BY_NAME[n] for n in ("cov68", "cov95", "pull", "pit", "eff")}
    got = {
        n: m.function(z, true, sigma, **({} if m.thr is None else {"thr": m.thr})).value
        for n, m in values.items()
    }
    assert got["cov68"] == pytest.approx(0.6827, abs=0.012)
    assert got["cov95"] == pytest.approx(0.95, abs=0.006)
    assert got["pull"] == pytest.approx(1, abs=0.03)
    assert got["eff"] == pytest.approx(1, abs=0.06)
    assert got["pit"] < 0.012


# the bootstrap


def repeated(x, drawn, replicate):
    """Rows of one replicate, as often as they are drawn."""
    times = drawn.weights[replicate][drawn.block].astype(int)
    return np.repeat(x, times)


@settings(max_examples=30, deadline=None)
@given(
    x=st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=40),
    objects=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_replicates_are_those_of_repeated_rows(x, objects, seed):
    x = np.array(x)
    drawn = draw(np.unique(np.arange(len(x)) % objects, return_inverse=True)[1], 6, seed)
    width = np.linspace(1, 2, len(x))
    mean_of = mean(x).replicates(drawn)
    median_of = Median(x).replicates(drawn)
    spread_of = Spread(x, width).replicates(drawn)
    for k in range(6):
        again, widths = repeated(x, drawn, k), repeated(width, drawn, k)
        assert mean_of[k] == pytest.approx(again.mean())
        assert median_of[k] == np.median(again)
        expected = 1.48 * np.median(abs(again - np.median(again)) / widths)
        assert spread_of[k] == pytest.approx(expected)


def test_objects_are_drawn_whole():
    objects = np.array([0, 0, 0, 1, 2, 2])
    drawn = draw(objects, 50, seed=3)
    times = drawn.weights[:, drawn.block]
    assert (times[:, 0] == times[:, 2]).all()
    assert drawn.weights.shape == (50, 3)
    assert (drawn.weights.sum(axis=1) == 3).all()


def test_medians_of_many_rows_agree_with_exact_ones(monkeypatch):
    rng = np.random.default_rng(5)
    x = rng.standard_t(2, 3000) + rng.exponential(1, 3000)
    width = rng.uniform(1, 3, 3000)
    drawn = draw(np.arange(3000), 200, seed=1)
    windowed = [Median(x).replicates(drawn), Spread(x, width).replicates(drawn)]
    monkeypatch.setattr(statistics, "EXACT", 10**9)
    exact = [Median(x).replicates(drawn), Spread(x, width).replicates(drawn)]
    for got, expected in zip(windowed, exact, strict=True):
        spread = expected.std()
        assert got.std() == pytest.approx(spread, rel=0.05)
        for level in (0.025, 0.16, 0.84, 0.975):
            assert abs(np.quantile(got, level) - np.quantile(expected, level)) < 0.15 * spread


def test_blocks_keep_the_spread_of_the_replicates(monkeypatch):
    """20,000 objects in blocks: the intervals are those of the normal theory."""
    rng = np.random.default_rng(6)
    x = rng.normal(0, 1, 20000)
    drawn = draw(np.arange(20000), 1000, seed=2)
    assert drawn.weights.shape == (1000, statistics.BLOCKS)
    root = math.sqrt(20000)
    assert mean(x).replicates(drawn).std() == pytest.approx(1 / root, rel=0.08)
    assert Median(x).replicates(drawn).std() == pytest.approx(1.2533 / root, rel=0.08)
    assert Spread(x).replicates(drawn).std() == pytest.approx(1.48 * 0.7867 / root, rel=0.08)


def test_intervals_cover_what_they_say():
    """Of 300 samples of 60 objects, 68 % of the intervals of a mean hold the true one."""
    rng = np.random.default_rng(7)
    drawn = draw(np.arange(60), 400, seed=0)
    held = 0
    for _ in range(300):
        replicates = mean(rng.normal(0, 1, 60)).replicates(drawn)
        low, high = np.quantile(replicates, [0.16, 0.84])
        held += low <= 0 <= high
    assert held / 300 == pytest.approx(0.68, abs=0.08)


def test_equal_values_have_no_spread():
    x = np.zeros(5000)
    drawn = draw(np.arange(5000), 20, seed=0)
    assert (Median(x).replicates(drawn) == 0).all()
    assert (Spread(x).replicates(drawn) == 0).all()


def test_nothing_gives_nan():
    none = np.zeros(0)
    drawn = draw(np.zeros(0, int), 5, seed=0)
    for statistic in (mean(none), Median(none), Spread(none)):
        assert math.isnan(statistic.value)
        assert np.isnan(statistic.replicates(drawn)).all()
    assert math.isnan(Sums((none, none)).value)


def test_same_seed_same_weights():
    one, two, other = (draw(np.arange(10), 5, seed=s).weights for s in (1, 1, 2))
    assert (one == two).all()
    assert (one != other).any()


# names and thresholds


def test_unknown_metrics_are_said_with_the_nearest():
    with pytest.raises(ConfigError, match="unknown metric 'nmda'; did you mean 'nmad'"):
        metrics.choose(["gf", "nmda"])
    assert [m.name for m in metrics.choose(["gf", "nmad", "gf"])] == ["gf", "nmad"]
    assert metrics.choose(["all"]) == list(metrics.METRICS)
    assert [m.name for m in metrics.choose([])] == list(metrics.SHORT)


def test_thresholds():
    chosen = metrics.parse_thresholds(["eta=0.05", "gf:QSO=0.01", "gf:LRG=2e-3", "t=2"])
    assert chosen == {"eta": 0.05, "gf": {"GALAXY": 0.0015, "QSO": 0.01, "LRG": 0.002}, "t": 2}
    assert metrics.parse_thresholds(["gf=0.001"]) == {"gf": 0.001}


@pytest.mark.parametrize(
    ("text", "message"),
    [("nmad=1", "has no threshold"), ("eta=x", "expected METRIC=NUMBER"), ("et=1", "mean 'eta'")],
)
def test_wrong_thresholds_are_one_line(text, message):
    with pytest.raises(ConfigError, match=message):
        metrics.parse_thresholds([text])


def test_every_metric_has_its_equation():
    for metric in metrics.METRICS:
        assert metric.function.__doc__, metric.name
        assert metric.sentence


def test_the_table_of_the_docs_is_up_to_date():
    docs = Path(__file__).parent.parent / "docs"
    spec = importlib.util.spec_from_file_location("generate", docs / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (docs / "reference" / "metrics.md").read_text(encoding="utf-8")
    assert written == module.PAGES["reference/metrics.md"](), "run: python docs/generate.py"


def test_confusion_of_many_classes_takes_little_memory():
    rng = np.random.default_rng(5)
    true = rng.integers(0, 150, 5000)
    label = np.where(rng.uniform(size=5000) < 0.8, true, rng.integers(-1, 150, 5000))
    tracemalloc.start()
    statistic = metrics.BY_NAME["confusion"].function(label, true)
    replicates = statistic.replicates(draw(np.arange(5000), 200, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # a matrix of each block would take 737 MB
    recall = [(label[true == c] == c).mean() for c in range(150)]
    assert statistic.value == pytest.approx(np.mean(recall))
    assert replicates.mean() == pytest.approx(statistic.value, abs=0.01)


def test_a_redshift_or_a_class_that_is_missing_is_a_failure():
    z, true = np.array([0.1, np.nan]), np.array([0.1, 0.1])
    for name in ("gf", "right"):
        assert metrics.BY_NAME[name].function(z, true, 1.0).value == 0.5
    zero = np.zeros(2, int)
    for name in ("purity", "completeness"):
        assert metrics.BY_NAME[name].function(z, true, zero, 1.0).value == 0.5
    for name in ("acc", "confusion"):
        assert metrics.BY_NAME[name].function(np.array([0, -1]), zero).value == 0.5
