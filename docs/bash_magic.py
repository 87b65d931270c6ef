"""``%%bash`` of the tutorials: what a command prints stands below it in one piece.

IPython's own passes on pieces as they come, between which the site would show line breaks. A
command that fails fails the build. ``conf.py`` puts this file into the startup of the kernels.
"""

import os
import subprocess
import sys

from IPython.core.magic import register_cell_magic


@register_cell_magic
def bash(line: str, cell: str) -> None:
    """Run a cell by bash, stop at the first failure, and print what it says."""
    # a kernel makes programs believe that they have a terminal
    env = {name: value for name, value in os.environ.items() if not name.endswith("COLOR_FORCE")}
    env.pop("FORCE_COLOR", None)
    words = ["bash", "-euo", "pipefail", "-c", cell]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    sys.stdout.write(done.stdout)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr}")
    sys.stderr.write(done.stderr)
