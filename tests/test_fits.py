from __future__ import annotations

import gzip

import numpy as np
import pytest
from astropy.io import fits

from zspec import InputError, OutputError, open_fits, write_fits

IMAGE = np.arange(12, dtype=np.int32).reshape(4, 3)


@pytest.fixture
def path(tmp_path):
    columns = [
        fits.Column("Flux", "E", array=np.arange(4.0)),
        fits.Column("name", "5A", array=np.array(["a", "bb ", "", "ccccc"])),
        fits.Column("vec", "3E", array=IMAGE.astype("f4")),
    ]
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(IMAGE, name="img"),
        fits.CompImageHDU(IMAGE, name="packed"),
        fits.BinTableHDU.from_columns(columns, name="Tab"),
        fits.BinTableHDU.from_columns(columns),
    ]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    return tmp_path / "a.fits"


def test_names_match_without_case(path):
    with open_fits(path) as handle:
        assert [h.name for h in handle.hdus] == ["", "IMG", "PACKED", "TAB", ""]
        assert [h.kind for h in handle.hdus] == ["image"] * 3 + ["table"] * 2
        assert handle.columns("tab") == ("FLUX", "NAME", "VEC")
        assert handle.column("tab", "FLUX").tolist() == [0, 1, 2, 3]
        assert handle.column(4, "flux", slice(1, 3)).tolist() == [1, 2]
        assert handle.column("tab", "flux", np.array([3, 0])).tolist() == [3, 0]
        assert handle.column("tab", "name").tolist() == ["a", "bb", "", "ccccc"]
        assert handle.column("tab", "vec").dtype.isnative
        assert not handle.has("nope")
        assert not handle.has("tab", "nope")
        assert handle.has("tab", "Flux")


@pytest.mark.parametrize("name", ["img", "packed"])
def test_images_compressed_or_not(path, name):
    with open_fits(path) as handle:
        assert np.array_equal(handle.image(name), IMAGE)
        assert np.array_equal(handle.image(name, slice(1, 3)), IMAGE[1:3])
        assert handle.image(name, slice(2, 2)).shape == (0, 3)
        assert handle.hdus[handle.index(name)].shape == (4, 3)


def test_gzipped_files_are_read(path):
    packed = path.with_suffix(".fits.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with open_fits(packed) as handle:
        assert np.array_equal(handle.image("img"), IMAGE)


def test_what_is_missing_is_said_with_what_there_is(path):
    with open_fits(path) as handle:
        with pytest.raises(InputError, match=r"a.fits: HDU NOPE is missing \(found: #0, IMG, PACK"):
            handle.image("NOPE")
        with pytest.raises(InputError, match=r"HDU tab: column 'ivar' is missing \(found: flux, n"):
            handle.column("tab", "ivar")
        with pytest.raises(InputError, match="HDU 0: holds no data"):
            handle.image(0)


def read_all(path):
    with open_fits(path) as handle:
        for hdu in range(1, 3):
            handle.image(hdu)
        for hdu in range(3, 5):
            handle.column(hdu, "vec")


@pytest.mark.parametrize("size", [0, 100, 2880, 5000, 9000, 20000])
def test_a_truncated_file_is_one_line(path, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError) as caught:
        read_all(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_disk_that_does_not_answer_is_one_line(path, monkeypatch):
    def stale(path):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr("zspec.headers.locate", stale)
    with pytest.raises(InputError, match=r"a\.fits: cannot be read \(Stale file handle"):
        read_all(path)


def test_what_is_no_file(tmp_path):
    (tmp_path / "text.fits").write_text("no FITS at all\n" * 500)
    (tmp_path / "b[1].fits").write_text("x")
    brackets = ("b[1].fits", r"cfitsio takes \[ and \]")
    for name, words in [
        brackets,
        ("gone.fits", "no such file"),
        ("", "is a folder"),
        ("text.fits", "no FI"),
    ]:
        with pytest.raises(InputError, match=words), open_fits(tmp_path / name):
            pass


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "b.fits"
    table = {"ID": np.arange(3), "NAME": np.array(["x", "yy", ""]), "V": np.eye(3)}
    write_fits(
        path, [("", np.zeros(0), {"Z": 0.5}), ("IMG", IMAGE, {"BUNIT": "Jy"}), ("T", table, {})]
    )
    with open_fits(path) as handle:
        assert handle.header(0)["Z"] == 0.5
        assert handle.header("IMG")["BUNIT"] == "Jy"
        assert np.array_equal(handle.image("IMG"), IMAGE)
        assert handle.column("T", "NAME").tolist() == ["x", "yy", ""]
        assert np.array_equal(handle.column("T", "V"), np.eye(3))
    with pytest.raises(OutputError, match="exists already"):
        write_fits(path, [("", IMAGE, {})])
    with pytest.raises(OutputError, match="cannot be written"):
        write_fits(tmp_path / "no" / "c.fits", [("", IMAGE, {})])
    assert [p.name for p in tmp_path.iterdir()] == ["b.fits"]
