"""Looking at a catalogue's spectra: what ``zspec plot`` and ``zspec inspect`` have in common.

:func:`gather` brings together what a catalogue says of some rows, their spectra, which it finds by
the columns FILE and ROW, and the models of their candidates; :mod:`zspec.plotting` draws that and
:mod:`zspec.inspection.page` puts it into a page.
"""

from __future__ import annotations

from zspec.inspection.gathering import gather
from zspec.inspection.targets import Solution, Target

__all__ = ["Solution", "Target", "gather"]
