"""Checkpoints: one safetensors file of tensors, and one metadata key ``zspec`` with JSON text.

Nothing is unpickled. The format version is an integer: an older file is brought up to date by the
functions in ``UPGRADES``, a newer one is refused with the version that it needs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zspec.errors import ConfigError, OutputError, unknown

if TYPE_CHECKING:
    import torch

    from zspec.estimator import Estimator

FORMAT = 1
"""Version of the metadata that this zspec writes."""

UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From version n to n + 1."""


def save(path: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and metadata beside ``path`` and rename. Raises OutputError if that fails.

    ``meta`` of a model holds ``estimator``, of anything else what it ``holds``; ``format`` and
    ``zspec`` (version) are added.
    """
    from safetensors.torch import save as to_bytes

    import zspec

    stored = {"format": FORMAT, "zspec": zspec.__version__, **meta}
    text = json.dumps(stored, sort_keys=True, allow_nan=False)
    beside = path.with_name(f".part{os.getpid()}.{path.name}")
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        beside.write_bytes(to_bytes(contiguous, metadata={"zspec": text}))
        os.replace(beside, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        beside.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and up-to-date metadata. Raises ConfigError for a file that is no checkpoint."""
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    meta = metadata(path)
    try:  # load_file maps the file: what is later written over it would change the tensors
        return from_bytes(path.read_bytes()), meta
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: is damaged ({error})") from None


def load_own(path: Path, estimator: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """As ``load``, of an estimator's own file. Raises ConfigError for another's."""
    tensors, meta = load(path)
    if meta.get("estimator") != estimator:
        raise ConfigError(f"{path}: holds estimator {meta.get('estimator')!r}, not {estimator}")
    return tensors, meta


def metadata(path: Path) -> dict[str, Any]:
    """The metadata alone, up to date. Raises ConfigError for a file that is no checkpoint."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ConfigError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as handle:
            text = (handle.metadata() or {}).get("zspec")
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: is no safetensors file ({error})") from None
    if text is None:
        raise ConfigError(f"{path}: is no checkpoint of zspec (metadata key 'zspec' is missing)")
    try:
        meta: dict[str, Any] = json.loads(text)
        version = int(meta["format"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{path}: its metadata are damaged") from None
    if version > FORMAT:
        needed = meta.get("zspec", "newer")
        raise ConfigError(f"{path}: has format {version}; zspec {needed} or newer is needed")
    for old in range(version, FORMAT):
        if old not in UPGRADES:
            raise ConfigError(f"{path}: format {version} is unknown to this zspec")
        meta = UPGRADES[old](meta)
    return meta


def shipped() -> dict[str, Path]:
    """Checkpoints that come with zspec, by name."""
    folder = Path(__file__).parent / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def models() -> dict[str, Path]:
    """The shipped checkpoints that predict, by name."""
    return {name: path for name, path in shipped().items() if "estimator" in metadata(path)}


DEFAULT = "zspec"
"""The model where none is named and no other is made for the survey."""


def default(survey: str | None) -> str:
    """The shipped model that says that it is the default for a survey; else ``DEFAULT``."""
    for name, path in shipped().items():
        if survey is not None and survey in metadata(path).get("default_for", ()):
            return name
    return DEFAULT


def find(model: str) -> Path:
    """The checkpoint that a user means: a shipped name or a file. Raises ConfigError."""
    known = models()
    if model in known:
        return known[model]
    path = Path(model)
    if path.suffix or path.exists():
        return path
    raise ConfigError(unknown("model", model, known) + "; a .safetensors file works too")


def load_estimator(model: str, device: str = "cpu") -> Estimator:
    """The estimator of a shipped name or a checkpoint file, ready to predict.

    Raises ConfigError where there is no such checkpoint or estimator.
    """
    from zspec import plugins

    path = find(model)
    meta = metadata(path)
    if "estimator" not in meta:
        raise ConfigError(f"{path}: is no model, it holds {meta.get('holds', 'something else')}")
    loaded = plugins.estimator(str(meta["estimator"])).load(path, device)
    loaded.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return loaded
