"""Sphinx configuration. ``nox -s docs`` builds the site with warnings as errors."""

from __future__ import annotations

import zspec

project = "zspec"
author = "The zspec developers"
version = release = zspec.__version__
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
html_theme = "alabaster"
html_theme_options = {"description": "Spectra in, redshift catalogue out."}
exclude_patterns = ["_build"]
