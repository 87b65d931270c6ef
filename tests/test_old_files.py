"""What an older zspec wrote still loads: files in ``data``, each made by the zspec that it names.

None of them is ever written anew. A new format adds a file here, and an upgrade function.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from zspec import Chunk, catalog, checkpoint, mock_spectra
from zspec.catalog import HDUS
from zspec.cli.app import build

DATA = Path(__file__).parent / "data"
CHECKPOINTS = sorted(DATA.glob("checkpoint-format-*.safetensors"))
CATALOGUES = sorted(DATA.glob("catalogue-*.fits"))


def test_every_format_so_far_has_a_file():
    """A new format without one fails here."""
    numbers = {int(path.stem.rpartition("-")[2]) for path in CHECKPOINTS}
    assert numbers == set(range(1, checkpoint.FORMAT + 1))
    assert set(range(1, checkpoint.FORMAT)) <= set(checkpoint.UPGRADES)


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_a_checkpoint_predicts(path):
    """The M dwarfs of zspec 0.1.0, alone, by which an M dwarf is where it was put."""
    meta = checkpoint.metadata(path)
    assert meta["format"] == checkpoint.FORMAT
    assert meta["surveys"] == ["sdss"]
    fitter = checkpoint.load_estimator(str(path))
    assert [spec.name for spec in fitter.classes] == ["STAR_M"]
    assert fitter.calibrated
    wave = 10 ** (3.57 + 1e-4 * np.arange(3900))
    spectra = mock_spectra({"A": (wave, wave / 4700)}, 6, 3, 20.0)
    found = fitter.predict(Chunk(spectra))
    assert np.isfinite(found.z).all()
    assert np.isfinite(found.zconf).all()


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_catalogue_is_read(path, tmp_path):
    """Two rows with all tables and columns on request, as zspec 0.1.0 wrote them."""
    made = catalog.read(path)
    assert made.header["ZSPECVER"] == path.stem.rpartition("-")[2] + ".0"
    assert set(made.tables) == set(HDUS)
    assert {"ZCRB", "ZLOW", "ZHIGH", "Z_TRUE"} <= set(made.redshifts.colnames)
    assert np.abs(made.redshifts["Z"] - made.redshifts["Z_TRUE"]).max() < 0.01
    done = CliRunner().invoke(build(), ["evaluate", str(path), "--metrics", "acc,right,cov68"])
    assert done.exit_code == 0, done.output
    assert "right" in done.output
    assert CliRunner().invoke(build(), ["info", str(path)]).exit_code == 0
