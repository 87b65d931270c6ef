"""4MOST: the contract, and what Phase 3 files do that others do not."""

from __future__ import annotations

import numpy as np
import pytest
from zspec_4most import FourMost
from zspec_4most.targets import class_of

from zspec import HDU, InputError, Spectra, ZWarn, hash_id, open_fits, write_fits
from zspec.simulate import stream
from zspec.testing import SurveyContract, shared

WAVE = np.arange(4000.0, 4010.0, 0.25)
UTYPES = {
    "TUTYP1": "spec:Data.SpectralAxis.Value",
    "TUTYP2": "spec:Data.FluxAxis.Value",
    "TUTYP3": "spec:Data.FluxAxis.Accuracy.StatError",
    "TUTYP4": "spec:Data.FluxAxis.Quality",
}
UNITS = {"TUNIT1": "Angstrom", "TUNIT2": "erg/(s*cm^2*Angstrom)", "TUNIT3": "erg/(s*cm^2*Angstrom)"}


class TestContract(SurveyContract):
    survey = FourMost
    files = ("4most/l1-rehearsal.fits", "4most/qso-z2.5-noise-free.fits")
    foreign = (
        "sdss/grid-*.fits",
        "sdss/spectra/*-000?.fits",
        "desi/*.fits",
        "lamost/*03-00*.fits",
        "csst/*.fits",
    )


def table(wave=WAVE, n=1, **more):
    """Columns of n spectra of flux 2 and error 0.5, in 1e-17 erg/s/cm2/Å."""
    wave = np.broadcast_to(wave, (n, np.shape(wave)[-1])).copy()
    flux = np.full(wave.shape, 2e-17, np.float32)
    return {
        "WAVE": wave,
        "FLUX": flux,
        "ERR_FLUX": flux / 4,
        "QUAL": np.zeros(wave.shape, np.int32),
    } | more


@pytest.fixture
def write(tmp_path):
    def written(columns, cards=UNITS, primary=None, name="PHASE3SPECTRUM"):
        path = tmp_path / "spectrum.fits"
        first = ("", np.zeros(0), {"INSTRUME": "QMOST"} if primary is None else primary)
        write_fits(path, [first, (name, columns, cards)], overwrite=True)
        return path

    return written


def read(path, **options) -> Spectra:
    (spectra,) = FourMost().read(path, options=FourMost.Options(**options))
    return spectra


def test_columns_go_by_utype_whatever_they_are_called(write):
    plain = table()
    strange = {"A": plain["WAVE"], "B": plain["FLUX"], "C": plain["ERR_FLUX"], "D": plain["QUAL"]}
    arm = read(write(strange, UNITS | UTYPES)).arms[0]
    np.testing.assert_allclose(arm.flux, 2)
    np.testing.assert_allclose(arm.ivar, 4)


@pytest.mark.parametrize("main", [True, False])
def test_the_spectrum_before_sky_subtraction_is_not_taken_for_the_flux(write, main):
    before = table()["FLUX"] * 50
    columns = {"FLUX_NOSS" if not main else "RAW": before, **table()}
    cards = {
        "TUTYP1": UTYPES["TUTYP2"],
        **{f"TUTYP{i + 1}": UTYPES[f"TUTYP{i}"] for i in range(1, 5)},
        **{f"TUNIT{i + 1}": UNITS[f"TUNIT{i}"] for i in range(1, 4)},
        "TUCD3": "phot.flux.density;em.wl;meta.main" if main else "phot.flux.density;em.wl",
    }
    np.testing.assert_allclose(read(write(columns, cards)).arms[0].flux, 2)


def test_nanometres_and_watts_become_angstroms_and_ergs(write):
    units = {"TUNIT1": "nm", "TUNIT2": "W/(m2 um)", "TUNIT3": "W/(m2 um)"}
    columns = table(WAVE / 10)
    columns["FLUX"], columns["ERR_FLUX"] = columns["FLUX"] * 10, columns["ERR_FLUX"] * 10
    arm = read(write(columns, units)).arms[0]
    np.testing.assert_allclose(arm.wave, WAVE)
    np.testing.assert_allclose(arm.flux, 2, rtol=1e-6)
    np.testing.assert_allclose(arm.ivar, 4, rtol=1e-6)


@pytest.mark.parametrize("unit", ["", "adu"])
def test_a_flux_that_is_no_flux_density_is_refused(write, unit):
    with pytest.raises(InputError, match=r"spectrum\.fits, column FLUX: unit .* no flux density"):
        read(write(table(), UNITS | {"TUNIT2": unit}))


def test_bad_pixels_are_those_of_quality_and_of_errors_that_are_no_errors(write):
    columns = table()
    columns["QUAL"][0, 1] = 1
    columns["QUAL"][0, 2] = -1
    columns["ERR_FLUX"][0, 3:6] = np.nan, 0, -1e-17
    columns["FLUX"][0, 6] = np.nan
    usable = read(write(columns)).arms[0].usable[0]
    assert list(np.flatnonzero(~usable)) == [1, 2, 3, 4, 5, 6]


def test_a_noise_free_spectrum_stays_a_row_without_data(write):
    columns = table()
    columns["ERR_FLUX"][:] = 0
    arm = read(write(columns)).arms[0]
    assert arm.flux.shape == (1, len(WAVE))
    assert not arm.usable.any()


def test_without_a_quality_column_every_pixel_counts(write):
    columns = table()
    del columns["QUAL"]
    assert read(write(columns)).arms[0].usable.all()


def test_rows_that_differ_in_wavelength_come_in_runs_and_in_order(write):
    waves = np.stack([WAVE, WAVE, WAVE + 1, WAVE])
    waves[3, -5:] = np.nan
    parts = list(FourMost().read(write(table(waves, n=4))))
    assert [list(part.rows) for part in parts] == [[0, 1], [2], [3]]
    assert [len(part.arms[0].wave) for part in parts] == [len(WAVE), len(WAVE), len(WAVE) - 5]
    (third,) = FourMost().read(write(table(waves, n=4)), rows=range(2, 3))
    assert list(third.rows) == [2]
    assert third.arms[0].wave[0] == WAVE[0] + 1


def test_a_row_whose_wavelengths_make_no_sense_costs_itself_only(write):
    waves = np.stack([WAVE, WAVE[::-1], WAVE])
    good = [part.arms[0].usable.all() for part in FourMost().read(write(table(waves, n=3)))]
    assert good == [True, False, True]


def test_one_number_a_row_is_no_phase_3_spectrum(write):
    columns = {name: vector[0] for name, vector in table().items()}
    with pytest.raises(InputError, match="one row an object"):
        read(write(columns))


AIR, VACUUM = UNITS | {"TUCD1": "em.wl;obs.atmos"}, UNITS | {"TUCD1": "em.wl"}


@pytest.mark.parametrize(
    ("cards", "chosen", "medium"),
    [
        (UNITS, "auto", "vacuum"),
        (VACUUM, "auto", "vacuum"),
        (AIR, "auto", "air"),
        (AIR | {"TEMPNAME": "COSMO_AGN"}, "auto", "vacuum"),
        (AIR, "vacuum", "vacuum"),
        (UNITS, "air", "air"),
    ],
)
def test_the_medium_is_what_the_file_says_but_for_py4most(write, cards, chosen, medium):
    assert read(write(table(), cards), medium=chosen).arms[0].medium == medium


def test_topocentric_wavelengths_are_refused_unless_asked_for(write):
    path = write(table(), primary={"SPECSYS": "TOPOCENT"})
    with pytest.raises(InputError, match="-S topocentric=true"):
        read(path)
    assert len(read(path, topocentric=True)) == 1


def test_a_lone_object_is_described_by_cards_and_the_primary_hdu_comes_first(write):
    cards = UNITS | {"RA": 1.0, "TRG_UID": 42, "REDSHIFT": 2.5, "TEMPNAME": "AGN_type1", "SNR": 3.0}
    spectra = read(write(table(), cards, primary={"RA": 10.0, "DEC": -5.0, "EXPTIME": 1200.0}))
    assert list(spectra.ids) == [42]
    assert spectra.table["RA"] == [10.0]
    assert spectra.table["EXPTIME"] == [1200.0]
    assert spectra.truth is not None
    assert spectra.truth.spectype == ["QSO"]
    assert spectra.truth.z == [2.5]
    assert spectra.snr == [3.0]


def test_cards_say_nothing_of_many_objects(write):
    path = write(table(n=2), UNITS | {"RA": 1.0, "TRG_UID": 42, "REDSHIFT": 2.5})
    spectra = read(path)
    assert np.isnan(spectra.table["RA"]).all()
    assert list(spectra.ids) == [hash_id(path, 0), hash_id(path, 1)]
    assert spectra.truth is None


def test_fibres_without_a_target_are_flagged(write):
    columns = table(n=3, FIB_USE=np.array([1, 3, 1]), FIB_ST=np.array([2, 2, 1]))
    assert list(read(write(columns)).zwarn) == [0, ZWarn.SKY, ZWarn.UNPLUGGED]


def test_the_lsf_is_resol_or_else_lambda_over_spec_res(write):
    fwhm = 2 * np.sqrt(2 * np.log(2))
    cards = UNITS | {"SPEC_RES": 5000.0}
    np.testing.assert_allclose(read(write(table(), cards)).arms[0].resolution, WAVE / 5000 / fwhm)
    cards |= {"RESOL": 1.2}
    np.testing.assert_allclose(read(write(table(), cards)).arms[0].resolution, 1.2 / fwhm)
    assert read(write(table())).arms[0].resolution is None


@pytest.mark.parametrize(
    ("template", "spectype"),
    [
        ("COSMO_AGN", "QSO"),
        ("s7_WAVES_0012.fits", "GALAXY"),
        ("tides_host", "GALAXY"),
        ("GalDiskLR", "STAR"),
        ("GalBulge", ""),
        ("galaxy_with_AGN", ""),
        ("", ""),
    ],
)
def test_classes_come_from_words_that_leave_no_doubt(template, spectype):
    assert class_of(template) == spectype


def test_phase_3_spectra_of_other_instruments_are_not_ours(write):
    for primary, ours in (({"INSTRUME": "UVES"}, False), ({"INSTRUME": "QMOST"}, True), ({}, True)):
        with open_fits(write(table(), primary=primary)) as file:
            assert FourMost().sniff(file.hdus) is ours
    assert not FourMost().sniff([HDU("PHASE3SPECTRUM", "table", {"TUTYP1": None}, ("WAVE",), (1,))])


def test_the_rehearsal_is_in_air_and_the_mock_in_vacuum():
    folder = shared()
    rehearsal = read(folder / "4most/l1-rehearsal.fits")
    assert rehearsal.arms[0].medium == "air"
    assert list(rehearsal.ids) == [11031146069]
    assert rehearsal.arms[0].usable.sum() == 19144
    mock = read(folder / "4most/qso-z2.5-noise-free.fits")
    assert mock.arms[0].medium == "vacuum"
    assert mock.truth is None


def test_a_stream_leaves_out_what_reading_leaves_out():
    arm = next(stream("4most", seed=1, batch=2)).arms[0]
    absorbed = (arm.wave > 7600) & (arm.wave < 7680)
    assert not arm.usable[:, absorbed].any()
    assert arm.usable[:, (arm.wave > 7700) & (arm.wave < 8100)].any()
