"""Write ``lamost-example.fits``: one simulated galaxy as LAMOST would have observed it.

    python make_example.py

The same zspec version writes the same spectrum. No LAMOST data are in it.
"""

from __future__ import annotations

from pathlib import Path

from zspec_lamost import LAMOST

HERE = Path(__file__).parent


def main() -> None:
    """Write the example beside this script, over the one that is there."""
    survey = LAMOST()
    path = HERE / "lamost-example.fits"
    path.unlink(missing_ok=True)
    survey.write(path, survey.demo(1, seed=14))


if __name__ == "__main__":
    main()
