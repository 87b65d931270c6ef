"""Pictures of spectra with what a catalogue says of them: one alone, or a page of many.

Figures are matplotlib's, made without pyplot. :func:`zspec.inspection.gather` makes the targets.
"""

from __future__ import annotations

from zspec.plotting.output import pages, save
from zspec.plotting.panels import View
from zspec.plotting.single import single

__all__ = ["View", "pages", "save", "single"]
