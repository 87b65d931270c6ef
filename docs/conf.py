"""Sphinx configuration. ``nox -s docs`` builds the site, tutorials executed, warnings as errors.

The built site needs no network: the theme carries its own style and code, and its search runs in
the browser. Generated pages are written when this file is read, see ``generate.py``.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import zspec

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import generate  # noqa: E402

generate.write()

project = "zspec"
author = "The zspec developers"
copyright = "2026, The zspec developers; BSD-3-Clause"
smartquotes = False  # --resume is no dash
version = release = zspec.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"zspec {release}"
html_theme_options = {"top_of_page_buttons": []}
html_static_path = ["static"]
html_css_files = ["site.css"]
highlight_language = "bash"  # of blocks that name none
html_copy_source = html_show_sourcelink = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Tutorials run in folders of their own, and find the zspec of the Python that builds the site.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 600  # a cell takes seconds, but machines differ
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
STARTUP = HERE / "_build" / "ipython" / "profile_default" / "startup"
STARTUP.mkdir(parents=True, exist_ok=True)
shutil.copy(HERE / "bash_magic.py", STARTUP)
os.environ["IPYTHONDIR"] = str(STARTUP.parents[1])
os.environ |= {"COLUMNS": "86", "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

# `nox -s links`: what answers to a browser only, or needs an account.
linkcheck_ignore = [r"https://example\.org.*"]
linkcheck_timeout = 20
linkcheck_workers = 4


def escape_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """``|dz|`` in a docstring is an absolute value, and no substitution of reStructuredText."""
    lines[:] = [re.sub(r"(?<!`)\|(\w+)\|", r"\\|\1\\|", line) for line in lines]


def setup(app: Any) -> None:
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", escape_bars)
