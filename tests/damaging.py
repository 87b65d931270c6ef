"""Ways to damage a FITS file: its bytes, its headers, its arrays."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits

Damage = Callable[[bytes, random.Random], bytes]


def cut(data, dice):
    return data[: dice.randrange(len(data))]


def cut_at_a_block(data, dice):
    return data[: 2880 * dice.randrange(len(data) // 2880)]


def flip_bits(data, dice):
    raw = bytearray(data)
    for _ in range(dice.choice([1, 3, 30, 300])):
        raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
    return bytes(raw)


def flip_header_bits(data, dice):
    """Only in blocks that look like headers: most bits of a file are pixels."""
    raw = bytearray(data)
    starts = [at for at in range(0, len(raw), 2880) if is_text(raw[at : at + 2880])]
    for _ in range(dice.choice([1, 2, 8])):
        at = dice.choice(starts) + dice.randrange(2880)
        raw[at] ^= 1 << dice.randrange(7)
    return bytes(raw)


def is_text(block):
    return all(32 <= byte < 127 for byte in block)


def other_cards(data, dice):
    """Numbers of structural cards replaced by others."""
    raw = bytearray(data)
    keys = [b"NAXIS ", b"NAXIS1", b"NAXIS2", b"BITPIX", b"PCOUNT", b"GCOUNT", b"TFIELDS"]
    keys += [b"TFORM1", b"BZERO"]
    key = dice.choice(keys).ljust(8) + b"="
    places = [at for at in range(0, len(raw), 80) if raw[at : at + 9] == key]
    if places:
        texts = ["-1", "0", "1", "7", "99999", str(2**31), str(2**63), "'x'", "NaN", "", "-2888"]
        text = dice.choice(texts)
        at = dice.choice(places)
        raw[at : at + 80] = (key + b" " + text.rjust(20).encode()).ljust(80)
    return bytes(raw)


def drop_block(data, dice):
    at = 2880 * dice.randrange(len(data) // 2880)
    return data[:at] + data[at + 2880 :]


def repeat_block(data, dice):
    at = 2880 * dice.randrange(len(data) // 2880)
    return data[: at + 2880] + data[at:]


def zero_a_part(data, dice):
    at = dice.randrange(len(data))
    size = dice.choice([1, 80, 2880, 100_000])
    return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]


def add_rubbish(data, dice):
    return data + dice.randbytes(dice.choice([1, 79, 2880, 5000]))


def be_no_fits(data, dice):
    return dice.choice([b"", b"hello", b"SIMPLE", b"\x1f\x8b\x08", data[80:], dice.randbytes(9000)])


BYTES = (
    cut,
    cut_at_a_block,
    flip_bits,
    flip_header_bits,
    other_cards,
    drop_block,
    repeat_block,
    zero_a_part,
    add_rubbish,
    be_no_fits,
)


def rewrite(data: bytes, path: Path, change: Callable[[fits.HDUList], None]) -> None:
    """A file with some HDUs changed, as another program would have written it.

    HDUs that are not touched are written as they were: making each anew takes half a second.
    """
    with warnings.catch_warnings(), fits.open(io.BytesIO(data), memmap=False) as hdus:
        warnings.simplefilter("ignore")
        change(hdus)
        hdus.writeto(path, overwrite=True, output_verify="ignore")


def images(hdus):
    return [hdu for hdu in hdus if hdu.is_image and hdu.data is not None and hdu.data.size]


def tables(hdus):
    return [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]


def arrays(hdus):
    """Every float image and column."""
    found = [hdu.data for hdu in images(hdus) if hdu.data.dtype.kind == "f"]
    for hdu in tables(hdus):
        found += [hdu.data[n] for n in hdu.columns.names if hdu.data[n].dtype.kind == "f"]
    return [data for data in found if data.size]


def without_an_hdu(hdus, dice):
    if len(hdus) > 1:
        del hdus[dice.randrange(1, len(hdus))]


def without_a_column(hdus, dice):
    if there := tables(hdus):
        at = hdus.index(dice.choice(there))
        names = hdus[at].columns.names
        gone = dice.choice(names)
        kept = [c for c in hdus[at].columns if c.name != gone]
        hdus[at] = fits.BinTableHDU.from_columns(kept, hdus[at].header) if kept else hdus[at]


def rename_an_hdu(hdus, dice):
    hdu = dice.choice(hdus)
    hdu.name = dice.choice(["", "X", "B_FLUX", "IVAR", "COADD"])


def other_numbers(hdus, dice):
    """NaN, infinity, negative, huge, zero: in some or in all values of an array."""
    if there := arrays(hdus):
        data = dice.choice(there)
        some = np.random.default_rng(dice.randrange(2**32)).random(data.shape)
        value = dice.choice([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e38, -1e38, 1e-38])
        data[some < dice.choice([0.001, 0.1, 1.1])] = value


def not_finite(hdus, dice):
    """NaN and infinities, in up to a tenth of an array."""
    if there := arrays(hdus):
        data = dice.choice(there)
        some = np.random.default_rng(dice.randrange(2**32)).random(data.shape)
        data[some < dice.choice([0.001, 0.01, 0.1])] = dice.choice([np.nan, np.inf, -np.inf])


def other_shape(hdus, dice):
    if there := images(hdus):
        hdu = dice.choice(there)
        hdu.data = dice.choice(
            [hdu.data[..., :-1], hdu.data[:0], hdu.data[None], hdu.data.ravel(), hdu.data[:1]]
        )


def other_type(hdus, dice):
    if there := images(hdus):
        hdu = dice.choice(there)
        with np.errstate(all="ignore"):
            hdu.data = hdu.data.astype(dice.choice(["u1", "i2", "i4", "f4", "f8"]))


def no_rows(hdus, dice):
    if there := tables(hdus):
        at = hdus.index(dice.choice(there))
        hdus[at] = fits.BinTableHDU(hdus[at].data[:0], hdus[at].header)


def a_column_of_text(hdus, dice):
    if there := tables(hdus):
        at = hdus.index(dice.choice(there))
        named = dice.choice(hdus[at].columns.names)
        rows = len(hdus[at].data)
        columns = [
            fits.Column(named, "9A", array=np.full(rows, "not a no.")) if c.name == named else c
            for c in hdus[at].columns
        ]
        hdus[at] = fits.BinTableHDU.from_columns(columns, name=hdus[at].name)


def other_unit(hdus, dice):
    hdu = dice.choice(hdus)
    units = ["furlong", "Jy", "1e-17 erg/(s cm2", "m", "", "\\x00", "10**999 erg"]
    hdu.header["BUNIT"] = dice.choice(units)
    for i in range(1, hdu.header.get("TFIELDS", 0) + 1):
        hdu.header[f"TUNIT{i}"] = dice.choice(units)


def huge_header(hdus, dice):
    hdu = dice.choice(hdus)
    for i in range(dice.choice([100, 5000])):
        hdu.header[f"K{i}"] = "x" * 60


def other_keys(hdus, dice):
    """Values of some cards replaced by others of another type."""
    hdu = dice.choice(hdus)
    for key in dice.sample(sorted(set(hdu.header) - {""}), k=min(5, len(set(hdu.header) - {""}))):
        if not key.startswith(("NAXIS", "BITPIX", "SIMPLE", "XTEN", "TF", "PCO", "GCO", "EXTEND")):
            hdu.header[key] = dice.choice([-1, 1e300, "text", True, "", 0])


PARTS = (
    without_an_hdu,
    without_a_column,
    rename_an_hdu,
    other_numbers,
    not_finite,
    other_shape,
    other_type,
    no_rows,
    a_column_of_text,
    other_unit,
    huge_header,
    other_keys,
)

DETECTABLE = (
    cut,
    cut_at_a_block,
    without_an_hdu,
    without_a_column,
    rename_an_hdu,
    not_finite,
    other_shape,
    no_rows,
    a_column_of_text,
    other_unit,
    huge_header,
    other_keys,
)
"""What can be told from good data. Pixels that became other plausible numbers cannot."""


def damage(data: bytes, path: Path, kind: Callable, seed: int) -> None:
    """Write a file damaged in one way."""
    dice = random.Random(seed)
    if kind in BYTES:
        path.write_bytes(kind(data, dice))
    else:
        rewrite(data, path, lambda hdus: kind(hdus, dice))
