"""Predict real LAMOST spectra and compare with the pipeline's own labels.

    python check_real.py FOLDER

FOLDER holds ``data/lamost/*.fits``. Exits with 1 where fewer galaxies or stars than asked come out
right: 7 of 9 galaxies within 0.0015 (1 + z), and 95 % of the stars as stars.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from zspec import predict

GALAXY_DZ = 0.0015
GALAXIES = 7 / 9
STARS = 0.95


def main(folder: str) -> int:
    """Print what is wrong, then the two figures; return the exit status."""
    rows = predict(sorted(Path(folder, "data", "lamost").glob("*.fits")), survey="lamost")
    truth, said = (np.asarray(rows[c]).astype(str) for c in ("CLASS_TRUE", "SPECTYPE"))
    off = np.abs(rows["Z"] - rows["Z_TRUE"]) / (1 + np.asarray(rows["Z_TRUE"]))
    right = np.where(truth == "GALAXY", (said == truth) & (off < GALAXY_DZ), said == truth)
    for row, fine in zip(rows, right, strict=True):
        if not fine:
            sys.stdout.write(
                f"{Path(str(row['FILE'])).name}: {row['SPECTYPE']} {row['Z']:.5f}, ZWARN"
                f" {row['ZWARN']}; labelled {row['CLASS_TRUE'] or 'unknown'} {row['Z_TRUE']:.5f}\n"
            )
    shares = {name: float(right[truth == name].mean()) for name in ("GALAXY", "STAR")}
    sys.stdout.write("".join(f"{name}: {share:.3f} right\n" for name, share in shares.items()))
    return int(shares["GALAXY"] < GALAXIES or shares["STAR"] < STARS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
