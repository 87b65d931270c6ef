"""The skeleton of a survey's package: ``zspec new-survey NAME`` writes it.

The files lie in ``template``; ``@NAME@``, ``@CLASS@``, ``@TITLE@``, ``@PACKAGE@`` and ``@DIST@``
stand for what depends on the survey, in their paths too. What is written is a whole plugin that
passes its tests as it stands, for a data model of its own: its author changes that into the
survey's.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

from zspec.errors import ConfigError, OutputError
from zspec.survey import NAME

ENDING = ".in"
"""Of the files of the template, so that no tool takes them for Python."""


def write(name: str, folder: Path, taken: Iterable[str] = ()) -> list[Path]:
    """Write the package of survey ``name`` into ``folder``, which is made; returns its files.

    ``taken`` are names of surveys that there are. Nothing is left behind where it fails. Raises
    ConfigError for a name that cannot be one, and OutputError where ``folder`` exists already or
    cannot be written.
    """
    words = slots(name)
    if words["NAME"] in set(taken):
        raise ConfigError(f"survey {words['NAME']!r} is installed already; choose another name")
    if folder.exists():
        raise OutputError(f"{folder}: exists; choose another folder with -o")
    if not folder.parent.is_dir():
        raise OutputError(f"{folder.parent}: no such folder; make it, or choose another with -o")
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".part") as beside:
            made = Path(beside) / "package"
            for place, text in texts(words).items():
                (made / place).parent.mkdir(parents=True, exist_ok=True)
                (made / place).write_text(text, encoding="utf-8")
            shutil.move(os.fspath(made), os.fspath(folder))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return sorted(path for path in folder.rglob("*") if path.is_file())


def slots(name: str) -> dict[str, str]:
    """What stands for each slot of the template. Raises ConfigError for a name that cannot be one.

    >>> slots("WEAVE")["CLASS"], slots("4hs")["CLASS"], slots("my_survey")["DIST"]
    ('WEAVESurvey', 'Survey4hs', 'zspec-my-survey')
    """
    lower = name.strip().lower().replace("-", "_")
    if not NAME.fullmatch(lower):
        raise ConfigError(f"survey name {name!r}: expected letters, digits and _, as weave")
    title = name.strip()
    plain = "".join(part[:1].upper() + part[1:] for part in re.split("[-_]", title))
    return {
        "NAME": lower,
        "CLASS": f"Survey{plain}" if plain[:1].isdigit() else f"{plain}Survey",
        "TITLE": title,
        "PACKAGE": f"zspec_{lower}",
        "DIST": f"zspec-{lower.strip('_').replace('_', '-')}",
    }


def texts(words: Mapping[str, str]) -> dict[str, str]:
    """Path in the package to text, of every file of the template."""
    root = resources.files("zspec.skeleton") / "template"
    with resources.as_file(root) as folder:
        found = sorted(path for path in folder.rglob(f"*{ENDING}") if path.is_file())
        return {
            filled(str(path.relative_to(folder)).removesuffix(ENDING), words): filled(
                path.read_text(encoding="utf-8"), words
            )
            for path in found
        }


def filled(text: str, words: Mapping[str, str]) -> str:
    """Text with its slots filled; a slot that is unknown is a KeyError."""
    return re.sub("@([A-Z]+)@", lambda slot: words[slot[1]], text)
