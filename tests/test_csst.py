"""CSST: the contract, other layouts, units, and the table of spectra."""

from __future__ import annotations

import numpy as np
import pytest
from zspec_csst import CSST

from zspec import ConfigError, InputError, OutputError, ZWarn, hash_id, open_fits, write_fits
from zspec.survey import make_options
from zspec.testing import SurveyContract, shared

GV, GI = np.linspace(4000.0, 6400.0, 30), np.linspace(6200.0, 10000.0, 40)
ANGSTROM, FLAM = {"BUNIT": "Angstrom"}, {"BUNIT": "1e-17 erg/(s cm2 Angstrom)"}


class TestContract(SurveyContract):
    survey = CSST
    files = ("csst/cess-mock-11.fits",)
    foreign = (
        "sdss/grid-*.fits",
        "sdss/spectra/*-000?.fits",
        "desi/*.fits",
        "lamost/*03-00*.fits",
        "4most/*.fits",
    )


@pytest.fixture
def write(tmp_path):
    def written(*hdus):
        path = tmp_path / "csst.fits"
        write_fits(path, [("", np.zeros(0), {}), *hdus], overwrite=True)
        return path

    return written


def images(band="GV", wave=GV, n=3, flux=2.0, cards=FLAM):
    """HDUs of one band: flux and ivar 4 of n sources."""
    shape = (n, np.shape(wave)[-1])
    return [
        (f"{band}_WAVELENGTH", wave, ANGSTROM),
        (f"{band}_FLUX", np.full(shape, flux, np.float32), cards),
        (f"{band}_IVAR", np.full(shape, 4.0, np.float32), {}),
    ]


def read(path, **options):
    (spectra,) = CSST().read(path, options=make_options(CSST(), options))
    return spectra


def test_gv_and_gi_by_default_and_gu_by_option(write):
    hdus = [
        *images("GU", np.linspace(2550.0, 4100.0, 20)),
        *images("GV", GV),
        *images("GI", GI),
    ]
    path = write(*hdus)
    assert [arm.name for arm in read(path).arms] == ["GV", "GI"]
    assert [arm.name for arm in read(path, bands="GI,GU").arms] == ["GU", "GI"]


def test_a_band_that_the_file_lacks_is_left_out(write):
    assert [arm.name for arm in read(write(*images("GI", GI))).arms] == ["GI"]
    with pytest.raises(InputError, match=r"GU_FLUX.*-S layout=my\.toml"):
        read(write(*images("GI", GI)), bands="GU")


def test_unknown_bands_and_options_are_refused():
    with pytest.raises(ConfigError, match="'GX'"):
        make_options(CSST(), {"bands": "GX"})
    with pytest.raises(ConfigError, match="did you mean 'bands'"):
        make_options(CSST(), {"band": "GV"})


def test_flux_per_frequency_becomes_flux_per_wavelength(write):
    arm = read(write(*images(cards={"BUNIT": "uJy"}))).arms[0]
    factor = 1e-29 * 2.99792458e18 / GV**2 * 1e17  # c / λ² in Å/s, 1 uJy = 1e-29 erg/s/cm2/Hz
    np.testing.assert_allclose(arm.flux[0], 2 * factor, rtol=1e-6)
    np.testing.assert_allclose(arm.ivar[0], 4 / factor**2, rtol=1e-6)


def test_a_pipelines_estimate_of_other_light_sets_contaminated(write):
    catalog = {
        "ID": np.arange(3),
        "CONTAM_GV": np.array([0.0, 0.05, np.nan], np.float32),
        "CONTAM_GI": np.array([0.3, 0.05, 0.0], np.float32),
    }
    path = write(*images("GV", GV), *images("GI", GI), ("CATALOG", catalog, {}))
    contaminated = int(ZWarn.CONTAMINATED)
    spectra = read(path)
    assert list(spectra.zwarn) == [contaminated, 0, 0]
    np.testing.assert_array_equal(spectra.table["CONTAM_GI"], catalog["CONTAM_GI"])
    assert list(read(path, contamination="0.01").zwarn) == [contaminated, contaminated, 0]
    assert list(read(path, bands="GV").zwarn) == [0, 0, 0]  # of bands that are not read
    assert read(write(*images())).zwarn is None
    with pytest.raises(ConfigError, match="a share expected"):
        make_options(CSST(), {"contamination": "2"})


def test_an_error_image_serves_where_there_is_no_ivar(write):
    wave, flux, _ = images()
    error = np.full((3, len(GV)), 0.5)
    error[1, :3] = 0, np.nan, -1
    arm = read(write(wave, flux, ("GV_ERR", error, {}))).arms[0]
    np.testing.assert_allclose(arm.ivar[0], 4)
    assert list(np.flatnonzero(~arm.usable[1])) == [0, 1, 2]


def test_a_mask_image_is_honoured(write):
    mask = np.zeros((3, len(GV)), np.int16)
    mask[2, 7] = 4
    arm = read(write(*images(), ("GV_MASK", mask, {}))).arms[0]
    assert [tuple(at) for at in np.argwhere(~arm.usable)] == [(2, 7)]


def test_noise_is_needed(write):
    with pytest.raises(InputError, match="HDU GV_IVAR is missing"):
        read(write(*images()[:2]))


def test_a_flux_without_a_unit_is_refused_unless_the_layout_states_one(write, tmp_path):
    path = write(*images(cards={}))
    with pytest.raises(InputError, match="GV_FLUX: unit '' is no flux density"):
        read(path)
    layout = tmp_path / "unit.toml"
    layout.write_text('flux_unit = "1e-17 erg/(s cm2 Angstrom)"\n')
    np.testing.assert_allclose(read(path, layout=str(layout)).arms[0].flux, 2)


def test_wavelengths_may_differ_between_sources(write):
    waves = np.stack([GV, GV, GV + 1.5])
    parts = list(CSST().read(write(*images(wave=waves))))
    assert [list(part.rows) for part in parts] == [[0, 1], [2]]
    assert parts[1].arms[0].wave[0] == GV[0] + 1.5


def test_a_source_without_wavelengths_keeps_its_row(write):
    waves = np.stack([GV, np.full_like(GV, np.nan), GV])
    spectra = read(write(*images(wave=waves)))
    assert list(spectra.arms[0].usable.any(axis=1)) == [True, False, True]
    with pytest.raises(InputError, match="no band of GV, GI"):
        read(write(*images(wave=GV[::-1].copy())))


def test_shapes_that_do_not_fit_are_the_files_fault(write):
    wave, flux, ivar = images()
    with pytest.raises(InputError, match="GV_IVAR: shape"):
        read(write(wave, flux, (ivar[0], ivar[1][:, :-1].copy(), {})))
    with pytest.raises(InputError, match="CATALOG has 2 rows and GV_FLUX 3"):
        read(write(wave, flux, ivar, ("CATALOG", {"ID": np.arange(2)}, {})))


def test_ids_are_numbers_where_they_can_be(write):
    catalog = {
        "ID": np.array(["8144596", "5494_B", "99999999999999999999"]),
        "Z_TRUE": np.array([0.1, 0.2, np.nan]),
        "SUBCLASS": np.array(["STARFORMING", "PASSIVE", "M5"]),
        "SNR_GV": np.array([1.0, 2.0, 3.0]),
    }
    spectra = read(write(*images(), ("CATALOG", catalog, {})))
    assert list(spectra.ids) == [8144596, hash_id("5494_B", 0), hash_id("9" * 20, 0)]
    assert list(spectra.table["NAME"]) == list(catalog["ID"])
    assert list(spectra.table["SNR_GV"]) == [1, 2, 3]
    assert list(spectra.truth.spectype) == ["GALAXY", "GALAXY", ""]
    np.testing.assert_array_equal(spectra.truth.z, catalog["Z_TRUE"])


def test_snr_is_the_mean_over_bands_of_each_bands_median(write):
    gv, gi = images("GV", GV, flux=1.0), images("GI", GI, flux=3.0)  # error 0.5: SNR 2 and 6
    gv[1][1][0, :5] = 500.0
    gv[2][1][1], gi[2][1][1] = 0, 0
    gi[2][1][2] = 0
    path = write(*gv, *gi)
    np.testing.assert_allclose(read(path).snr, [4, np.nan, 2])
    np.testing.assert_allclose(read(path, bands="GI").snr, [6, np.nan, np.nan])


def test_without_a_catalogue_ids_are_of_file_and_row(write):
    path = write(*images())
    spectra = read(path)
    assert list(spectra.ids) == [hash_id(path, row) for row in range(3)]
    assert spectra.truth is None


def spectra_table():
    """Sources B and A: rows GV of B, GV of A, GI of A; GI is longer, so that GV is padded."""
    pad = np.full(len(GI) - len(GV), np.nan)
    padded = np.concatenate([GV, pad])
    flux = np.stack([np.full(len(GI), 1.0), np.full(len(GI), 2.0), np.full(len(GI), 3.0)])
    columns = {
        "ID": np.array(["B", "A", "A"]),
        "BAND": np.array(["GV", "GV", "GI"]),
        "WAVELENGTH": np.stack([padded, padded, GI]),
        "FLUX": flux,
        "ERR": np.full(flux.shape, 0.5),
        "Z_TRUE": np.array([0.2, 0.1, 0.1]),
    }
    return columns, {"TUNIT3": "Angstrom", "TUNIT4": FLAM["BUNIT"]}


def test_a_table_of_sources_and_bands(write):
    columns, cards = spectra_table()
    path = write(("SPECTRA", columns, cards))
    with open_fits(path) as file:
        assert CSST().sniff(file.hdus)
    spectra = read(path)
    assert list(spectra.table["NAME"]) == ["B", "A"]
    assert list(spectra.rows) == [0, 1]
    gv, gi = spectra.arms
    np.testing.assert_allclose(gv.wave, GV)
    np.testing.assert_allclose(gv.flux[:, 0], [1, 2])
    assert list(gi.usable.any(axis=1)) == [False, True]
    np.testing.assert_allclose(gi.ivar[1], 4)
    np.testing.assert_allclose(spectra.truth.z, [0.2, 0.1])


def test_a_catalogue_beside_the_table_is_matched_by_id(write):
    columns, cards = spectra_table()
    catalog = {"ID": np.array(["A", "B", "C"]), "RA": np.array([1.0, 2.0, 3.0])}
    spectra = read(write(("SPECTRA", columns, cards), ("CATALOG", catalog, {})))
    assert list(spectra.table["RA"]) == [2, 1]
    few = write(("SPECTRA", columns, cards), ("CATALOG", {"ID": np.array(["A"])}, {}))
    with pytest.raises(InputError, match="source B of HDU SPECTRA is not in CATALOG"):
        read(few)


def test_two_rows_of_one_source_and_band_are_not_guessed_at(write):
    columns, cards = spectra_table()
    columns["BAND"] = np.array(["GV", "GI", "GI"])
    with pytest.raises(InputError, match="source A has several rows of band GI"):
        read(write(("SPECTRA", columns, cards)))


def test_another_layout_from_toml(write, tmp_path):
    hdus = [(name.replace("GV_", "SPEC_GV_"), *rest) for name, *rest in images()]
    layout = tmp_path / "my.toml"
    layout.write_text(
        'wave = "SPEC_{band}_WAVELENGTH"\nflux = "SPEC_{band}_FLUX"\nivar = "SPEC_{band}_IVAR"\n'
        'id_column = "SOURCE"\nkeep = ["FIELD"]\n'
    )
    catalog = {"SOURCE": np.array([7, 8, 9]), "FIELD": np.array([1, 1, 2])}
    spectra = read(write(*hdus, ("CATALOG", catalog, {})), layout=str(layout))
    assert list(spectra.ids) == [7, 8, 9]
    assert list(spectra.table["FIELD"]) == [1, 1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('wavee = "X"', "unknown key 'wavee'; did you mean 'wave'"),
        ("flux = 3", "flux = 3, but text was expected"),
        ('keep = "SNR"', "but a list of texts was expected"),
        ("flux = ", "is no TOML"),
    ],
)
def test_layouts_are_strict(write, tmp_path, text, message):
    layout = tmp_path / "bad.toml"
    layout.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read(write(*images()), layout=str(layout))
    with pytest.raises(ConfigError, match="layout cannot be read"):
        read(write(*images()), layout=str(tmp_path / "none.toml"))


def test_nothing_to_write_is_said(tmp_path):
    with pytest.raises(OutputError, match="no spectra to write"):
        CSST().write(tmp_path / "empty.fits", CSST().demo(0, 1))


def test_the_emulators_bands_agree_where_they_overlap():
    spectra = read(shared() / "csst/cess-mock-11.fits", bands="GU,GV,GI")
    assert [len(arm.wave) for arm in spectra.arms] == [338, 393, 516]
    assert spectra.table["NAME"][10] == "5494348_STARFORMING"
    bright = 7  # SNR 17 in GV and 26 in GI: units are right if its flux is continuous
    inside = [a.usable[bright] & (a.wave > 6300) & (a.wave < 6400) for a in spectra.arms[1:]]
    assert all(part.sum() > 10 for part in inside)
    blue, red = (a.flux[bright, i].mean() for a, i in zip(spectra.arms[1:], inside, strict=True))
    assert blue == pytest.approx(red, rel=0.03)
