"""Simulated spectra with known answers.

- ``sources`` draws objects of a population, ``instrument`` and the kinds that it names observe them
  as a survey does, ``simulator`` is the two together, ``files`` writes what comes out, and
  ``stream`` hands it to a training without end.
- ``mocks`` makes spectra from analytic rest-frame physics (``restframe``) as an instrument of given
  pixels and line-spread function would see them: enough for demos and tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zspec.simulate.supply import stream

__all__ = ["stream"]


def __getattr__(name: str) -> Any:
    """Load ``stream``, and torch with it, when it is first used."""
    if name != "stream":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from zspec.simulate.supply import stream

    return stream
