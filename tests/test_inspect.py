"""``zspec inspect``: what the page holds, and in a browser what it does."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from zspec import catalog, write_fits
from zspec.cli.app import build
from zspec.errors import ConfigError, InputError, OutputError
from zspec.inspection import gather
from zspec.inspection.encoding import FINE, whole
from zspec.inspection.places import locate

pytest.importorskip("bokeh", reason="bokeh is not installed: pip install '.[inspect]'")

EXAMPLE = Path(__file__).parent.parent / "examples" / "coadd-example.fits"
EVIL = "</script><img src=x onerror=alert(1)>"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def zcat(tmp_path_factory):
    """A catalogue of the example with p(z), in a folder with its spectra, named relatively."""
    folder = tmp_path_factory.mktemp("inspect")
    for name in (EXAMPLE.name, "redrock-example.fits"):  # the second has the truth
        shutil.copy(EXAMPLE.with_name(name), folder)
    path = folder / "zcat.fits"
    words = ["predict", str(folder / EXAMPLE.name), "-o", str(path), "--zpdf"]
    assert CliRunner().invoke(build(), words).exit_code == 0
    made = catalog.read(path)
    for table in made.tables.values():
        table["FILE"] = np.full(len(table), EXAMPLE.name)
    catalog.write(made, path)
    return path


@pytest.fixture(scope="module")
def page(zcat):
    """The page of all rows."""
    path = zcat.with_name("page.html")
    done = CliRunner().invoke(build(), ["inspect", str(zcat), "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert "12 spectra" in done.output
    return path


def unpacked(packed):
    """What the page's code does, in other words."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8)
    words = np.ascontiguousarray(planes.reshape(4, -1).T).view("<i4")[:, 0]
    return np.cumsum(words.astype(np.int64)).astype(np.int32) * packed["step"]


@pytest.mark.parametrize("values", [[0.0], [1.5, -2.25, 1e6, -1e6, 0.0], [3e9, -3e9, 0.0]])
def test_arrays_come_back_within_half_a_step(values):
    """Beyond 2^31 steps they are clipped, and what follows is not harmed."""
    found, limit = unpacked(whole(np.array(values), 1.0)), 2**31 - 1
    np.testing.assert_allclose(found, np.clip(values, -limit, limit), atol=0.5)


def script(text, name):
    return json.loads(re.search(f'id="{name}">(.*?)</script>', text, re.S)[1])


def test_the_page_holds_the_spectra(page, zcat):
    """Flux to a fraction of its error, models, p(z), and the words of the catalogue."""
    text = page.read_text()
    data, target = script(text, "data"), next(gather(zcat, [3]))
    assert len(data["targets"]) == 12
    assert data["targets"][3]["id"] == str(target.id)
    assert data["targets"][3]["z"] == target.row["Z"]
    assert any("UNPLUGGED" in word for word in data["targets"][11]["words"])
    packed = script(text, "s3")
    flux = np.concatenate([arm.flux[0] for arm in target.arms])
    ivar = np.concatenate([arm.ivar[0] for arm in target.arms])
    median = float(np.median(1 / np.sqrt(ivar[ivar > 0])))
    assert np.max(np.abs(unpacked(packed["flux"]) - flux)) <= 0.51 * median / FINE
    good = unpacked(packed["good"]) > 0.5
    np.testing.assert_array_equal(good, ivar > 0)
    error = np.exp(unpacked(packed["error"])[good])
    np.testing.assert_allclose(error, 1 / np.sqrt(ivar[good]), rtol=0.006)
    chi2 = float((ivar * (flux - unpacked(packed["models"][0])) ** 2).sum())
    assert chi2 == pytest.approx(target.row["CHI2"], rel=2e-3)
    density = 10 ** unpacked(packed["zpdf"])
    assert density[density > 2e-6].sum() == pytest.approx(1, abs=0.05)


def test_the_page_needs_no_network_and_names_no_place(page, zcat):
    text = page.read_text()
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="https?:', text)
    assert "default-src 'none'" in text
    assert str(zcat.parent) not in text


def test_strings_of_files_are_escaped(zcat, tmp_path):
    made = catalog.read(zcat)
    made.tables["REDSHIFTS"] = made.tables["REDSHIFTS"][:1]
    made.tables["REDSHIFTS"]["CLASS"] = np.array([EVIL[:24]])
    path = tmp_path / "<b>evil&.fits"
    catalog.write(made, path)
    words = ["inspect", str(path), str(zcat.parent), "--model", "none", "-o", str(tmp_path / "p")]
    assert CliRunner().invoke(build(), words).exit_code == 0
    text = (tmp_path / "p").read_text()
    assert EVIL[:24] not in text
    assert script(text, "data")["targets"][0]["class"] == EVIL[:24]
    assert "<title>&lt;b&gt;evil&amp;.fits</title>" in text


def test_blind_leaves_the_truth_out(zcat, tmp_path):
    path = tmp_path / "p.html"
    words = ["inspect", str(zcat), "--model", "none", "--first", "2", "-o", str(path)]
    for more, known in (([], True), (["--blind", "--overwrite"], False)):
        assert CliRunner().invoke(build(), [*words, *more]).exit_code == 0
        targets = script(path.read_text(), "data")["targets"]
        assert len(targets) == 2
        assert (targets[0]["z_true"] is not None) is known


def invoke(*words):
    """A command that is expected to fail: what it raised."""
    return CliRunner().invoke(build(), [str(word) for word in words]).exception


def test_mistakes(zcat, page, tmp_path):
    said = invoke("inspect", zcat, "-o", page)
    assert isinstance(said, OutputError)
    assert "--overwrite" in str(said)
    said = invoke("inspect", zcat, "-o", zcat, "--overwrite")
    assert "is the catalogue" in str(said)
    said = invoke("inspect", zcat, "--class", "QUASAR", "-o", tmp_path / "p.html")
    assert isinstance(said, ConfigError)
    said = invoke("inspect", zcat, tmp_path / "gone.fits", "-o", tmp_path / "p.html")
    assert isinstance(said, InputError)
    said = invoke("inspect", zcat, "-o", tmp_path / "no" / "p.html")
    assert isinstance(said, OutputError)
    assert list(tmp_path.iterdir()) == []


def test_spectra_are_found_where_they_lie(tmp_path, monkeypatch):
    """As FILE says, beside the catalogue, or in what is named; never one of two."""
    zcat = tmp_path / "out" / "zcat.fits"
    for name in ("17/coadd.fits", "18/coadd.fits", "out/coadd.fits", "other.fits"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_fits(tmp_path / name, [("", np.zeros(1), {})])
    monkeypatch.chdir(tmp_path)
    assert locate("17/coadd.fits", zcat, []) == Path("17/coadd.fits")
    assert locate("gone/coadd.fits", zcat, []) == tmp_path / "out" / "coadd.fits"
    both = [tmp_path / "17" / "coadd.fits", tmp_path / "18" / "coadd.fits"]
    assert locate("/old/18/coadd.fits", zcat, both) == both[1]
    assert locate("/old/18/coadd.fits", zcat, [tmp_path]) == both[1]
    assert locate("coadd.fits", zcat, [Path("other.fits")], alone=True) == Path("other.fits")
    with pytest.raises(InputError, match="may be"):
        locate("/old/19/coadd.fits", zcat, both)
    with pytest.raises(InputError, match="name them after it"):
        locate("gone.fits", zcat, [])
    with pytest.raises(InputError, match="not among"):
        locate("gone.fits", zcat, both)


# ---- in a browser


@pytest.fixture(scope="module")
def chromium():
    """A headless browser, or a skip with the reason."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser found ({', '.join(BROWSERS)})")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium, page):
    """The page in a fresh profile; any error of its code and any request fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(120_000)  # a machine may be busy
    opened, wrong = context.new_page(), []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    local = ("file:", "blob:", "data:")
    opened.on("request", lambda r: None if r.url.startswith(local) else wrong.append(r.url))
    opened.goto(page.as_uri())
    opened.wait_for_selector("body[data-ready]")
    yield opened
    context.close()
    assert wrong == []


def source(tab, name):
    """x of what is drawn under that name."""
    return tab.evaluate(f"Array.from(Bokeh.documents[0].get_model_by_name('{name}').data.x)")


def saved(tab, path):
    with tab.expect_download() as download:
        tab.click("#save")
    download.value.save_as(path)
    with path.open(newline="") as text:
        return list(csv.DictReader(text))


def wait_name(tab, text):
    tab.wait_for_selector(f"#name:has-text('{text}')")  # a function would need the page's eval


def test_click_keys_and_filters(tab, zcat):
    known = catalog.read(zcat).redshifts
    assert tab.locator("#list li").count() == 12
    tab.locator("#list li").nth(3).click()
    wait_name(tab, "row 3")
    assert str(known["CLASS"][3]) in tab.inner_text("#facts")
    tab.keyboard.press("j")
    wait_name(tab, "row 4")
    tab.keyboard.press("k")
    wait_name(tab, "row 3")
    tab.click("#next")  # where there is no keyboard
    wait_name(tab, "row 4")
    tab.click("#previous")
    wait_name(tab, "row 3")
    tab.select_option("#f-flag", "flagged")
    assert tab.locator("#list li").count() == int((known["ZWARN"] != 0).sum())
    tab.select_option("#f-flag", "=NODATA")
    assert tab.locator("#list li").count() == 1
    tab.locator("#list li").first.click()  # a row without data is shown too
    wait_name(tab, "row 11")
    assert "No usable pixel" in tab.inner_text("#words")
    tab.select_option("#f-flag", "")
    tab.fill("#f-low", "0.9")
    assert tab.locator("#list li").count() == int((known["ZCONF"] >= 0.9).sum())
    tab.fill("#f-low", "")
    tab.select_option("#f-class", "STAR")
    assert tab.locator("#list li").count() == int((known["SPECTYPE"] == "STAR").sum())


def test_the_spectrum_that_was_asked_for_last_is_shown(tab):
    """However long others take to decode."""
    click = "for (const i of [5, 6, 7]) document.querySelectorAll('#list li')[i].click()"
    tab.evaluate(click)  # none is waited for
    wait_name(tab, "row 7")
    press = "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: KEY, bubbles: true}))"
    for key in ("'j'", "'j'"):
        tab.evaluate(press.replace("KEY", key))
    wait_name(tab, "row 9")
    tab.evaluate(";".join([press.replace("KEY", "'a'")] * 2))  # the second sees nothing new yet
    wait_name(tab, "row 10")
    assert tab.inner_text("#progress").startswith("1 of 12")


def test_slider_moves_lines_and_model(tab):
    tab.locator("#list li").nth(3).click()
    wait_name(tab, "row 3")
    tab.keyboard.press("q")  # many lines, whatever the model calls it
    lines, model = source(tab, "lines"), source(tab, "model")
    z = float(tab.input_value("#z"))
    tab.evaluate(
        "const c = document.getElementById('coarse'); c.value = Number(c.value) + 0.1;"
        "c.dispatchEvent(new Event('input'))"
    )
    moved = float(tab.input_value("#z"))
    assert np.log1p(moved) == pytest.approx(np.log1p(z) + 0.1, abs=2e-4)
    ratio = (1 + moved) / (1 + z)
    assert source(tab, "model")[100] == pytest.approx(model[100] * ratio, rel=1e-4)
    there = np.array(source(tab, "lines"))
    apart = np.abs(np.array(lines)[:, None] * ratio - there).min(axis=1)
    assert (apart < 0.5).sum() > 5
    tab.keyboard.press("b")
    assert float(tab.input_value("#z")) == pytest.approx(z, abs=1e-5)
    tab.keyboard.press("l")
    assert source(tab, "lines") == []
    tab.keyboard.press("m")
    assert source(tab, "model") == []


def test_candidates_and_smoothing(tab):
    tab.locator("#list li").nth(2).click()
    wait_name(tab, "row 2")
    tab.keyboard.press("c")
    assert tab.locator("#candidates [aria-checked=true]").inner_text().startswith("2:")
    first = tab.evaluate("Array.from(Bokeh.documents[0].get_model_by_name('flux').data.y)")
    for _ in range(4):
        tab.keyboard.press("]")
    after = tab.evaluate("Array.from(Bokeh.documents[0].get_model_by_name('flux').data.y)")
    rough = [np.nanstd(np.diff(np.array(y, float))) for y in (first, after)]
    assert rough[1] < 0.7 * rough[0]
    tab.keyboard.press("C")
    assert tab.locator("#list .mark").nth(2).inner_text() == ""  # looked at, nothing said


def test_export_is_a_truth_for_evaluate(tab, tmp_path, zcat):
    """Accept, class, quality and comment, saved as CSV, which evaluate and the page read."""
    known = catalog.read(zcat).redshifts
    key, other = ("q", "QSO") if known["SPECTYPE"][3] == "GALAXY" else ("g", "GALAXY")
    tab.fill("#inspector", "ab")
    tab.locator("#list li").nth(2).click()
    wait_name(tab, "row 2")
    tab.keyboard.press("a")
    wait_name(tab, "row 3")
    tab.keyboard.press(key)
    tab.keyboard.press("3")
    tab.keyboard.press("n")
    tab.keyboard.type('broad, "odd"')
    tab.keyboard.press("Escape")
    tab.keyboard.press("j")
    wait_name(tab, "row 4")
    tab.keyboard.press("1")
    assert tab.inner_text("#progress").startswith("3 of 12")
    path = tmp_path / "seen.csv"
    rows = saved(tab, path)
    assert [row["ROW"] for row in rows] == ["2", "3", "4"]
    assert [row["QUALITY"] for row in rows] == ["4", "3", "1"]
    assert [row["SPECTYPE"] for row in rows] == [known["SPECTYPE"][2], other, ""]
    assert rows[1]["COMMENT"] == 'broad, "odd"'
    assert rows[2]["Z"] == ""
    assert {row["INSPECTOR"] for row in rows} == {"ab"}
    assert rows[0]["TARGETID"] == str(known["TARGETID"][2])
    words = ["evaluate", str(zcat), "--truth", str(path), "--metrics", "acc,nmad", "--json"]
    done = CliRunner().invoke(build(), words)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["rows"] == 2
    assert said["metrics"]["acc"]["value"] == 0.5
    check_loading(tab, path)


def check_loading(tab, path):
    """Answers stay over a reload; they come back from the CSV where the browser has lost them."""
    for lose in (False, True):
        if lose:
            tab.evaluate("localStorage.clear()")
        tab.reload()
        tab.wait_for_selector("body[data-ready]")
        assert tab.inner_text("#progress").startswith("0 of" if lose else "3 of")
    tab.set_input_files("#file", path)
    tab.wait_for_selector("#progress:has-text('3 of 12')")
    assert tab.locator("#list .mark").nth(3).inner_text() == "✓3"


def test_narrow_screens_scroll_one_way_only(tab):
    for width in (1600, 800, 390):
        tab.set_viewport_size({"width": width, "height": 800})
        fits = "() => document.documentElement.scrollWidth <= innerWidth"
        for _ in range(50):  # the plot follows the window a moment later
            if tab.evaluate(fits):
                break
            tab.wait_for_timeout(100)
        assert tab.evaluate(fits), width
    tab.keyboard.press("j")
    wait_name(tab, "row 1")
    assert tab.evaluate("scrollY") == 0


def test_no_script_runs_but_the_pages_own(chromium, page):
    """What a string that slipped through would need, an inline handler, is refused."""
    opened = chromium.new_page()
    opened.set_default_timeout(120_000)
    refused = []
    opened.on("console", lambda said: refused.append(said.text))
    opened.goto(page.as_uri())
    opened.wait_for_selector("body[data-ready]")
    html = '<b onclick="window.bad = 1">x</b>'
    opened.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", html)
    opened.evaluate("document.body.lastElementChild.click()")
    assert opened.evaluate("window.bad") is None
    assert any("Content Security Policy" in text for text in refused)
    policy = opened.evaluate("document.querySelector('meta[http-equiv]').content")
    scripts = policy.partition("script-src")[2].partition(";")[0]
    assert "unsafe" not in scripts
    opened.close()
