"""What is read from a file's bytes is what fitsio reads."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pytest
from astropy.io import fits

from zspec import fits as zfits
from zspec import headers, open_fits
from zspec.testing import shared

ROWS = 3
COLUMNS = (
    fits.Column("byte", "B", array=np.arange(ROWS)),
    fits.Column("Short", "I", array=[-1, 2, 3]),
    fits.Column("int", "J", array=[1, -(2**30), 3]),
    fits.Column("long", "K", array=[1, -(2**60), 3]),
    fits.Column("real", "E", array=[0.5, np.nan, -1e30]),
    fits.Column("double", "D", array=[0.1, np.inf, 1e300]),
    fits.Column("text", "7A", array=["a b", "", "seven  "]),
    fits.Column("vector", "4E", array=np.arange(12.0).reshape(3, 4)),
    fits.Column("flag", "L", array=[True, False, True]),
    fits.Column("bits", "11X", array=np.zeros((3, 11), bool)),
    fits.Column("square", "4J", dim="(2,2)", array=np.arange(12).reshape(3, 2, 2)),
    fits.Column("unsigned", "K", bzero=2**63, array=np.array([0, 2**63, 2**64 - 1], np.uint64)),
    fits.Column("word", "I", bzero=2**15, array=np.array([0, 40_000, 65_535], np.uint16)),
    fits.Column("scaled", "I", array=[0, 2, 5]),
    fits.Column("ragged", "PE()", array=np.array([[1.0], [1.0, 2.0], []], object)),
    fits.Column("last", "J", array=[7, 8, 9]),
)
BYTES = {"BYTE", "SHORT", "INT", "LONG", "REAL", "DOUBLE", "TEXT", "VECTOR", "UNSIGNED", "WORD"}


@pytest.fixture
def path(tmp_path):
    table = fits.BinTableHDU.from_columns(COLUMNS, name="T")
    scaled = [c.name for c in COLUMNS].index("scaled") + 1
    table.header[f"TSCAL{scaled}"], table.header[f"TZERO{scaled}"] = 0.5, 10.0
    table.header["QUOTED"] = ("it's / here", "with a comment")
    table.header["EMPTY"] = ""
    table.header["REAL"] = (-1.5e-3, "a / b")
    table.header["YES"] = True
    table.header["NONE"] = None
    image = fits.ImageHDU(np.arange(12, dtype=np.int16).reshape(4, 3), name="img")
    image.header["LONG"] = "x" * 100  # goes on in CONTINUE
    hdus = [fits.PrimaryHDU(), image, table, fits.CompImageHDU(np.eye(9), name="packed")]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    return tmp_path / "a.fits"


def by_fitsio(path, monkeypatch):
    """The same file with nothing found in its bytes."""
    with monkeypatch.context() as patch:
        patch.setattr(headers, "locate", lambda path: ())
        return zfits.FitsFile(path)


def same(path, monkeypatch):
    """Compare all HDUs and columns; the columns that were read from the bytes."""
    seen = set()
    slow = by_fitsio(path, monkeypatch)
    with open_fits(path) as fast:
        assert fast._parts
        for number, (ours, theirs) in enumerate(zip(fast.hdus, slow.hdus, strict=True)):
            assert (ours.name, ours.kind, ours.shape) == (theirs.name, theirs.kind, theirs.shape)
            assert ours.columns == theirs.columns
            for name in ours.columns:
                assert_same(fast.column(number, name), slow.column(number, name))
                rows = fast._rows(number)
                if rows is not None and rows.column(ours.columns.index(name)) is not None:
                    seen.add(name)
    slow.close()
    return seen


def assert_same(ours, theirs):
    assert ours.dtype.kind == theirs.dtype.kind
    assert ours.dtype.isnative
    if ours.dtype == object:
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    else:
        assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f")


def test_columns_are_those_of_fitsio(path, monkeypatch):
    assert same(path, monkeypatch) == BYTES | {"LAST"}


def test_some_rows_of_a_column(path):
    with open_fits(path) as handle:
        assert handle.column("t", "last", slice(1, None)).tolist() == [8, 9]
        assert handle.column("t", "last", np.array([2, 0])).tolist() == [9, 7]
        assert handle.column("t", "text").tolist() == ["a b", "", "seven"]
        with pytest.raises(zfits.InputError, match="HDU t: cannot be read"):
            handle.column("t", "last", np.array([3]))


def test_a_large_table_is_left_to_fitsio(path, monkeypatch):
    monkeypatch.setattr(zfits, "SMALL", 10)
    with open_fits(path) as handle:
        assert handle._rows(2) is None
        assert handle.column("t", "last").tolist() == [7, 8, 9]


def test_values_of_cards(path, monkeypatch):
    slow = by_fitsio(path, monkeypatch)
    with open_fits(path) as handle:
        cards = handle.header("T")
        assert cards["QUOTED"] == "it's / here"
        assert cards["EMPTY"] == ""
        assert cards["REAL"] == -1.5e-3
        assert cards["YES"] is True
        assert cards["NONE"] is None
        assert cards["NAXIS2"] == ROWS
        assert set(slow.header("T")) - {"COMMENT"} <= set(cards)
        assert handle.header("IMG")["LONG"] == "x" * 100
        assert "GONE" not in cards
    slow.close()


@pytest.mark.parametrize(
    ("text", "value"),
    [("1D3", 1000.0), ("  -7 / n", -7), ("'a''b'   ", "a'b"), ("'open", "open"), ("F", False)],
)
def test_text_behind_a_keyword(text, value):
    assert headers.value(text) == value


def test_what_is_not_whole_or_not_plain_is_left_to_fitsio(path, tmp_path):
    whole = path.read_bytes()
    packed = tmp_path / "a.fits.gz"
    packed.write_bytes(gzip.compress(whole))
    assert headers.locate(packed) == ()
    parts = headers.locate(path)
    padding = [range(p.start + p.size, -(-(p.start + p.size) // 2880) * 2880 + 1) for p in parts]
    for size in (*range(1, parts[-1].start + parts[-1].size, 777), parts[2].start + 1):
        path.write_bytes(whole[:size])
        assert any(size in ends for ends in padding) or headers.locate(path) == ()
    path.write_bytes(whole[: parts[-1].start + parts[-1].size])  # no padding
    assert len(headers.locate(path)) == len(parts)


def test_a_file_that_is_replaced_is_read_anew(path, tmp_path):
    with open_fits(path) as handle:
        assert len(handle.hdus) == 4
    other = tmp_path / "b.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.eye(2), name="new")]).writeto(other)
    os.replace(other, path)
    with open_fits(path) as handle:
        assert [h.name for h in handle.hdus] == ["", "NEW"]


def of_cards(*cards):
    """A header of cards, filled up to whole blocks."""
    text = "".join(card.ljust(80) for card in (*cards, "END"))
    return text.ljust(-(-len(text) // 2880) * 2880).encode()


def a_table(**other):
    """A file with one table of one row, whose header says what is asked for."""
    cards = {"XTENSION": "'BINTABLE'", "BITPIX": 8, "NAXIS": 2, "NAXIS1": 8, "NAXIS2": 1}
    cards |= {"PCOUNT": 0, "GCOUNT": 1, "TFIELDS": 1, "TTYPE1": "'A'", "TFORM1": "'1D'"} | other
    primary = of_cards("SIMPLE  =                    T", "BITPIX  = 8", "NAXIS   = 0")
    table = of_cards(*(f"{key:8}= {text}" for key, text in cards.items()))
    return primary + table + bytes(2880)


@pytest.mark.parametrize(
    "other",
    [
        {"PCOUNT": -2888},  # the next header would be this one
        {"GCOUNT": -1, "NAXIS1": 2880},
        {"PCOUNT": -999_999},  # and this one before the file
        {"TFIELDS": 3_000_000},
        {"TFIELDS": -1},
        {"TFORM1": "'99999999999A'"},
        {"TFORM1": "'9999999999D'"},
    ],
)
def test_sizes_that_cannot_be_are_one_line(tmp_path, other):
    path = tmp_path / "a.fits"
    path.write_bytes(a_table())
    with open_fits(path) as handle:
        assert handle.column(1, "A").tolist() == [0.0]
    path.write_bytes(a_table(**other))
    with pytest.raises(zfits.InputError), open_fits(path) as handle:
        handle.column(1, "A")


def test_the_end_of_a_header_is_not_looked_for_for_ever(tmp_path, monkeypatch):
    cards = ["SIMPLE  =                    T", "BITPIX  = 8", "NAXIS   = 0"]
    path = tmp_path / "a.fits"
    path.write_bytes(of_cards(*cards, *["COMMENT THE END is not this"] * 3000))
    assert headers.locate(path)[0].start == path.stat().st_size
    headers._located.cache_clear()
    monkeypatch.setattr(headers, "LONGEST", 6 * headers.AT_ONCE)
    assert headers.locate(path) == ()


@pytest.mark.parametrize("folder", ["sdss/spectra", "desi", "4most"])
def test_real_files_are_as_fitsio_reads_them(folder, monkeypatch):
    files = sorted(shared(folder).glob("*.fits"))
    for path in files[:: max(1, len(files) // 3)]:
        assert same(path, monkeypatch)
