"""What every table of the catalogue holds, column by column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column of the catalogue."""

    name: str
    dtype: str
    """numpy dtype; ``U`` is text as wide as needed, ``f4[]`` an array of any length in each row."""
    unit: str
    ucd: str
    sentence: str

    @property
    def held(self) -> str:
        """The dtype in memory: arrays of any length are objects."""
        return "O" if self.dtype.endswith("[]") else self.dtype


KEY = (
    Column("TARGETID", "i8", "", "meta.id;meta.main", "The survey's id; it need not be unique."),
    Column("FILE", "U", "", "meta.file", "The input's name, as given."),
    Column("ROW", "i4", "", "meta.record", "Row in that file, from 0; with FILE it is unique."),
)
"""What every table of the catalogue starts with."""

REDSHIFTS = (
    *KEY,
    Column("SPECTYPE", "U6", "", "src.class", "GALAXY, QSO or STAR; empty without data."),
    Column("SUBTYPE", "U20", "", "src.class", "Finer type, where the model has one."),
    Column("CLASS", "U24", "", "src.class", "The model's own label."),
    Column("PROB", "f4", "", "stat.probability", "Probability of CLASS."),
    Column("Z", "f8", "", "src.redshift", "Redshift; 0 in a row without data."),
    Column("ZERR", "f8", "", "stat.error;src.redshift", "1 sigma of Z."),
    Column("ZCONF", "f4", "", "stat.probability", "Calibrated probability that Z is good."),
    Column("ZWARN", "i8", "", "meta.code.qual", "Reasons to distrust the row, as bits; 0 is good."),
    Column(
        "DELTACHI2",
        "f8",
        "",
        "stat.fit.chi2",
        "What the next candidate costs more: chi2 with priors.",
    ),
    Column("CHI2", "f8", "", "stat.fit.chi2", "chi2 of the best model on native pixels."),
    Column("NPIXELS", "i8", "", "meta.number", "Good native pixels, over all arms."),
    Column("ARMS", "U", "", "instr", "The arms that had data."),
    Column("SNR", "f4", "", "stat.snr", "Median flux/error of the good native pixels."),
    Column("RA", "f8", "deg", "pos.eq.ra;meta.main", "Right ascension, ICRS; NaN if unknown."),
    Column("DEC", "f8", "deg", "pos.eq.dec;meta.main", "Declination, ICRS; NaN if unknown."),
)
"""HDU REDSHIFTS: one row per spectrum, in the order of the input."""

TRUTH = (
    Column("Z_TRUE", "f8", "", "src.redshift", "Redshift that the input or its neighbour states."),
    Column("CLASS_TRUE", "U6", "", "src.class", "Class that the input or its neighbour states."),
)
"""Added to REDSHIFTS where any input has labels. Never an input to a prediction."""

REQUESTED = (
    Column(
        "ZCRB",
        "f8",
        "",
        "stat.error;src.redshift",
        "Cramer-Rao bound of 1 sigma of Z, of the model that was fitted.",
    ),
    Column("ZLOW", "f8", "", "src.redshift;stat.min", "Start of the conformal interval of Z."),
    Column("ZHIGH", "f8", "", "src.redshift;stat.max", "End of it; inf where none is known to do."),
)
"""Added to REDSHIFTS on request."""

CANDIDATES = (
    *KEY,
    Column("RANK", "i2", "", "meta.code", "From 1, the best."),
    Column("SPECTYPE", "U6", "", "src.class", "GALAXY, QSO or STAR."),
    Column("SUBTYPE", "U20", "", "src.class", "Finer type, where the model has one."),
    Column("CLASS", "U24", "", "src.class", "The model's own label."),
    Column("Z", "f8", "", "src.redshift", "Redshift of the candidate."),
    Column("ZERR", "f8", "", "stat.error;src.redshift", "1 sigma of Z."),
    Column("PROB", "f4", "", "stat.probability", "Share of the posterior."),
    Column(
        "CHI2",
        "f8",
        "",
        "stat.fit.chi2",
        "chi2 of the candidate on native pixels; NaN where it is too far behind for a fit.",
    ),
)
"""HDU CANDIDATES: up to five rows per spectrum, ranked."""

CLASSPROB = (
    *KEY,
    Column("CLASS", "U24", "", "src.class", "The model's own label."),
    Column("PROB", "f4", "", "stat.probability", "Probability of this class."),
    Column("Z", "f8", "", "src.redshift", "Redshift if the spectrum is of this class."),
    Column("ZERR", "f8", "", "stat.error;src.redshift", "1 sigma of Z."),
)
"""HDU CLASSPROB: one row per spectrum and class."""

ZPDF = (
    *KEY,
    Column("SPECTYPE", "U6", "", "src.class", "GALAXY, QSO or STAR."),
    Column("CLASS", "U24", "", "src.class", "The model's own label."),
    Column("START", "f8", "", "src.redshift", "ln(1+z) of the first value of DENSITY."),
    Column("STEP", "f8", "", "src.redshift", "ln(1+z) from one value to the next."),
    Column(
        "DENSITY",
        "f4[]",
        "",
        "stat.probability",
        "Probability per unit ln(1+z), linear in between; STEP times their sum is this row's.",
    ),
)
"""HDU ZPDF, on request: rows whose sum is p(z, class) of a spectrum, which integrates to 1."""

FILES = (
    Column("FILE", "U", "", "meta.file", "The input's name, as given."),
    Column("SURVEY", "U16", "", "meta.id", "The adapter that read it."),
    Column("NROWS", "i4", "", "meta.number", "Rows that it gave."),
    Column(
        "HALVED",
        "i4",
        "",
        "meta.number",
        "Times that a chunk was halved for want of device memory.",
    ),
    Column("ERROR", "U", "", "meta.note", "Why it gave none; empty where all went well."),
)
"""HDU FILES: one row per input, those that could not be read included."""

HDUS: Mapping[str, tuple[Column, ...]] = {
    "REDSHIFTS": REDSHIFTS,
    "CANDIDATES": CANDIDATES,
    "CLASSPROB": CLASSPROB,
    "ZPDF": ZPDF,
    "FILES": FILES,
}
"""All tables of a catalogue, in their order."""
