"""Tables that are written part by part are those that astropy reads, to the last byte and sum."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from zspec import OutputError, checksums, layout, tablestream
from zspec.tablestream import Streamed

DTYPE = np.dtype(
    [
        ("ID", "i8"),
        ("BIG", "u8"),
        ("SMALL", "u2"),
        ("BYTE", "u1"),
        ("FLAG", "?"),
        ("NAME", "S5"),
        ("Z", "f8"),
        ("VEC", "f4", (3,)),
        ("GRID", "i2", (2, 3)),
        ("WORDS", "S4", (2,)),
        ("PDF", "O"),
    ]
)


def make(n, seed=1):
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, DTYPE)
    rows["ID"] = rng.integers(-(2**62), 2**62, n)
    rows["BIG"] = 2**63 + rng.integers(0, 2**60, n).astype("u8")
    rows["SMALL"], rows["BYTE"] = rng.integers(0, 65536, n), rng.integers(0, 256, n)
    rows["FLAG"], rows["Z"] = rng.random(n) < 0.5, rng.normal(size=n)
    rows["Z"][::3] = np.nan
    rows["NAME"], rows["WORDS"] = b"ab c", b"x"
    rows["VEC"], rows["GRID"] = rng.normal(size=(n, 3)), np.arange(6).reshape(2, 3)
    rows["PDF"] = [rng.random(k % 4).astype("f4") for k in range(n)]
    return rows


def write(path, parts):
    whole = layout.join([layout.layout_of(part) for part in parts])
    table = Streamed("T", whole.dtype, whole.rows, lambda: parts, (), whole.longest, whole.values)
    tablestream.write(path, fits.PrimaryHDU(), [table], path.with_name("beside"))


@pytest.mark.parametrize("cuts", [[], [0, 3, 3], [1, 4, 9]])
def test_what_is_written_in_parts_is_read_back(tmp_path, cuts):
    rows = make(11)
    write(tmp_path / "t.fits", [rows])
    parts = [rows[a:b] for a, b in zip([0, *cuts], [*cuts, 11], strict=True)]
    write(tmp_path / "parts.fits", parts)
    assert (tmp_path / "parts.fits").read_bytes() == (tmp_path / "t.fits").read_bytes()
    with fits.open(tmp_path / "parts.fits", checksum=True) as hdus:  # a wrong sum is a warning
        hdus.verify("exception")
        for name in DTYPE.names:
            back = hdus["T"].data[name]
            for one, other in zip(back, rows[name], strict=True):
                other = other.astype("U") if rows.dtype[name].base.kind == "S" else other
                assert np.array_equal(one, other, equal_nan=name == "Z"), name


def test_its_bytes_are_those_of_astropy(tmp_path):
    """Of what does not need an array of any length; header cards stand in the same order."""
    rows = make(7)[[name for name in DTYPE.names if name not in ("PDF", "WORDS", "GRID")]]
    rows = layout.cast(rows, np.dtype([(n, rows.dtype[n]) for n in rows.dtype.names]))
    write(tmp_path / "ours.fits", [rows])
    fits.BinTableHDU(rows, name="T").writeto(tmp_path / "theirs.fits")
    with fits.open(tmp_path / "ours.fits") as ours, fits.open(tmp_path / "theirs.fits") as theirs:
        for key, value in theirs["T"].header.items():
            assert ours["T"].header[key] == value, key
        assert ours["T"].data.tobytes() == theirs["T"].data.tobytes()


def test_64_bit_descriptors_are_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(tablestream, "NARROW", 1)
    rows = make(5)
    write(tmp_path / "t.fits", [rows[:2], rows[2:]])
    with fits.open(tmp_path / "t.fits", checksum=True) as hdus:
        assert hdus["T"].columns["PDF"].format.startswith("QE")
        assert all(
            np.array_equal(a, b) for a, b in zip(hdus["T"].data["PDF"], rows["PDF"], strict=True)
        )


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=r"t.fits: cannot be written \(No space left"):
        write(tmp_path / "t.fits", [make(3)])
    assert list(tmp_path.iterdir()) == []


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_a_sum_does_not_depend_on_the_pieces(data, cuts):
    ends = sorted(min(c, len(data)) for c in cuts)
    once, pieces = checksums.Sum(), checksums.Sum()
    once.add(data)
    for a, b in zip([0, *ends], [*ends, len(data)], strict=True):
        pieces.add(data[a:b])
    assert once.value == pieces.value


@given(st.integers(0, 2**32 - 1))
def test_a_checksum_brings_the_sum_to_zero(value):
    """Where sixteen zeros stood before, as the standard says; the text is rotated by a byte."""
    text = checksums.encode(value)
    assert text.isalnum()
    zeros, written = checksums.Sum(), checksums.Sum()
    zeros.add(b"0" * 16)
    written.add((text[1:] + text[:1]).encode())
    assert (value - zeros.value + written.value) % (2**32 - 1) == 0


def test_layouts_are_joined_and_filled():
    one = layout.pack({"A": np.array([1, 2]), "B": np.array(["x", "yy"])})
    two = layout.pack({"C": np.array([1.5]), "A": np.array(["text"]), "V": np.ones((1, 2), "f4")})
    whole = layout.join([layout.layout_of(one), layout.layout_of(two)], last=["B"])
    assert whole.names == ("A", "C", "V", "B")
    assert whole.dtype["A"].kind == "S"
    assert whole.rows == 3
    first, second = layout.cast(one, whole.dtype), layout.cast(two, whole.dtype)
    assert first["A"].tolist() == [b"1", b"2"]
    assert np.isnan(first["C"]).all()
    assert np.isnan(first["V"]).all()
    assert second["A"].tolist() == [b"text"]
    assert second["B"].tolist() == [b""]
    assert layout.restore(whole.text()) == whole
