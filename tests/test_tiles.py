"""Compressed images: what cfitsio reads, and nothing that is damaged."""

from __future__ import annotations

import gzip
import random

import fitsio
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from zspec import InputError, open_fits, tiles, write_fits


@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(7, 40), (5, 3, 11), (1, 2000)])
@pytest.mark.parametrize("method", ["GZIP", "GZIP_2"])
def test_tiles_are_what_cfitsio_reads(tmp_path, kind, shape, method):
    data = np.random.default_rng(3).normal(0, 50, shape).astype(kind)
    path = tmp_path / "a.fits"
    with fitsio.FITS(str(path), "rw") as made:
        made.write(data, compress=method, qlevel=0, extname="A")
    with open_fits(path) as file:
        assert tiles.are_plain(file._parts[1])
        for rows in (None, slice(0, 1), slice(1, 4), slice(3, 99), slice(2, 2)):
            read = file.image("A", rows)
            assert read.dtype == data.dtype
            assert np.array_equal(read, data[rows if rows else slice(None)])


@pytest.mark.parametrize("method", ["GZIP", "GZIP_2"])
def test_an_image_of_one_axis_is_left_to_cfitsio(tmp_path, method):
    data = np.random.default_rng(3).normal(0, 50, 300).astype("f4")
    path = tmp_path / "a.fits"
    with fitsio.FITS(str(path), "rw") as made:
        made.write(data, compress=method, qlevel=0, extname="A")
    with open_fits(path) as file:
        assert np.array_equal(file.image("A"), data)
        assert np.array_equal(file.image("A", slice(3, 99)), data[3:99])


@pytest.mark.parametrize("more", [{"compress": "RICE"}, {"compress": "GZIP", "tile_dims": [2, 9]}])
def test_other_tiles_are_left_to_cfitsio(tmp_path, more):
    data = np.arange(54, dtype="i4").reshape(6, 9)
    path = tmp_path / "a.fits"
    with fitsio.FITS(str(path), "rw") as made:
        made.write(data, extname="A", **more)
    with open_fits(path) as file:
        assert not tiles.are_plain(file._parts[1])
        assert np.array_equal(file.image("A"), data)


def test_unsigned_numbers_are_left_to_cfitsio(tmp_path):
    data = np.arange(40, dtype="u2").reshape(4, 10)
    path = tmp_path / "a.fits"
    with fitsio.FITS(str(path), "rw") as made:
        made.write(data, compress="GZIP", extname="A")
    with open_fits(path) as file:
        assert np.array_equal(file.image("A"), data)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiles") / "a.fits"
    data = np.random.default_rng(3).normal(0, 50, (6, 300)).astype("f4")
    write_fits(path, [("", np.zeros(0), {}), ("A", data, {})], compress={"A"})
    return path, path.read_bytes(), data


@given(seed=st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_a_damaged_tile_is_said(packed, seed):
    path, whole, data = packed
    dice, raw = random.Random(seed), bytearray(whole)
    with open_fits(path) as file:
        start, size = file._parts[1].start, file._parts[1].size
    at = start + dice.randrange(size)
    raw[at : at + dice.choice([1, 8, 400])] = bytes(dice.choice([1, 8, 400]))
    raw[len(whole) :] = b""
    other = path.with_name("b.fits")
    other.write_bytes(bytes(raw).ljust(len(whole), b"\0"))
    with open_fits(other) as file:
        try:
            read = file.image("A")
        except InputError as error:
            assert "HDU A: cannot be read" in str(error)  # noqa: PT017
        else:
            assert np.array_equal(read, data)  # what was struck says nothing of the pixels


@pytest.mark.parametrize("card", ["ZTILE1", "ZNAXIS2"])
@pytest.mark.parametrize("size", [0, -3])
def test_a_tile_without_size_does_not_end_the_process(packed, size, card):
    path, whole, _ = packed
    other = path.with_name("c.fits")
    other.write_bytes(whole)
    with fits.open(other, mode="update", disable_image_compression=True) as hdus:
        hdus[1].header[card] = size
    with open_fits(other) as file, pytest.raises(InputError, match=f"without pixels: {card}"):
        file.image("A")
    other.write_bytes(other.read_bytes().replace(b"XTENSION= 'BIN", b"XTENSION= BIN "))
    with pytest.raises(InputError, match=f"without pixels: {card}"), open_fits(other) as file:
        file.image("A")
    gzipped = path.with_name("c.fits.gz")
    gzipped.write_bytes(gzip.compress(other.read_bytes()))
    with pytest.raises(InputError, match=f"without pixels: {card}"), open_fits(gzipped) as file:
        file.image("A")


def test_a_card_between_two_blocks_of_a_gzipped_file_is_found(packed, monkeypatch):
    path, whole, _ = packed
    other = path.with_name("d.fits.gz")
    at = whole.index(b"ZTILE1  =")
    other.write_bytes(gzip.compress(whole[: at + 10] + b"0".rjust(20) + whole[at + 30 :]))
    for size in (at + 3, at + 15, at + 29):
        monkeypatch.setattr(tiles, "AT_ONCE", size)
        tiles._searched.cache_clear()
        with pytest.raises(ValueError, match="without pixels: ZTILE1"):
            tiles.check(other)


def test_a_gzipped_image_is_read(packed):
    path, whole, data = packed
    other = path.with_name("e.fits.gz")
    other.write_bytes(gzip.compress(whole))
    with open_fits(other) as file:
        assert np.array_equal(file.image("A"), data)
    other.write_bytes(gzip.compress(whole)[:-100])
    with pytest.raises(InputError, match="is damaged"), open_fits(other):
        pass
