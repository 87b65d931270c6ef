"""What an intermediate file of a training was made of: recipe and data, as one hash.

A file that was made of anything else is not used again. Bases of an older recipe may have seen what
they are validated on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zspec import checkpoint


def identity(recipe: Mapping[str, Any], shared: Path, *more: object) -> str:
    """Hash of a recipe, of the files below ``shared`` that it learns from, and of ``more``."""
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True, default=str).encode())
    digest.update(repr(more).encode())
    for file in _files(recipe, shared):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def holds(path: Path, of: str) -> bool:
    """Whether a checkpoint is there and was made of that."""
    return path.exists() and checkpoint.metadata(path).get("of") == of


def mark(path: Path, of: str) -> None:
    """Write into a checkpoint what it was made of."""
    tensors, meta = checkpoint.load(path)
    checkpoint.save(path, tensors, {**meta, "of": of})


def _files(recipe: Mapping[str, Any], shared: Path) -> Iterator[Path]:
    """Files that a recipe of bases or sources reads; those of a manifest lie in its folder."""
    given = recipe.get("spectra", ())
    places = [shared / name for name in ([given] if isinstance(given, str) else given)]
    if "templates" in recipe:
        places.append(shared / recipe["templates"])
    if "manifest" in recipe:
        places.append((shared / recipe["manifest"]).parent)
    for name in recipe.get("include", ()):
        below = shared / name
        places.append(below if below.is_file() else checkpoint.find(name))
    for place in places:
        inside = place.rglob("*") if place.is_dir() else (place,)
        yield from sorted(file for file in inside if file.is_file())
