"""What an unfinished run was told: it is gone on with by the same command only."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zspec import prediction
from zspec.errors import ConfigError, InputError, OutputError

FORMAT = 1
"""Version of what is written."""
FREE = ("COMMAND",)
"""Cards that may differ: ``--resume`` itself is in the command."""


def plain(header: Mapping[str, Any]) -> dict[str, Any]:
    """Values of header cards without their comments."""
    return {k: v[0] if isinstance(v, tuple) else v for k, v in header.items()}


def write(path: Path, header: Mapping[str, Any]) -> None:
    """Write the cards of a run. Raises OutputError."""
    beside = path.with_suffix(".tmp")
    try:
        beside.write_text(json.dumps({"format": FORMAT, "cards": plain(header)}, indent=1) + "\n")
        os.replace(beside, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None


def read(path: Path) -> dict[str, Any]:
    """The cards of a run. Raises InputError where the file is damaged or of a newer zspec."""
    try:
        stored = json.loads(path.read_text())
        cards, version = dict(stored["cards"]), int(stored["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); start with --overwrite") from None
    if version > FORMAT:
        raise InputError(f"{path}: was written by a newer zspec; start again with --overwrite")
    return cards


def differing(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first card in which two runs differ, in words; empty where they are the same."""
    for card, value in plain(now).items():
        unknown = card == "SURVEY" and card not in was  # of a zspec that did not keep it
        if card not in FREE and not unknown and was.get(card) != value:
            return f"{card} was {was.get(card)!r} and is {value!r}"
    return ""


def reader_cards(cards: Mapping[str, Any]) -> list[str]:
    """SURVEY1 and so on: cards that name adapters which read something."""
    return [card for card in cards if re.fullmatch(r"SURVEY\d+", card)]


def readers(cards: Mapping[str, Any]) -> dict[str, str]:
    """Adapters that read something with the distributions that brought them, by their names."""
    told = [str(plain(cards)[card]) for card in reader_cards(cards)]
    return {text.split(" ")[0]: text for text in told}


def check_readers(path: Path, cards: Mapping[str, Any]) -> None:
    """Raise ConfigError where an adapter that read something is another by now."""
    was = readers(cards)
    now = readers(prediction.adapters(list(was)))
    for name, text in was.items():
        if now.get(name) != text:
            raise ConfigError(
                f"{path}: was read by {text}, and that is {now.get(name, 'not installed')} by now; "
                "install what it was, or start with --overwrite"
            )


def check(path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    """The cards of a run that may be gone on with. Raises ConfigError where it was another."""
    was = read(path)
    if said := differing(was, header):
        raise ConfigError(f"{path.parent}: {said}; give what it had, or start with --overwrite")
    return was
