"""Which files to read, and which survey reads them."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zspec import plugins, remote
from zspec.errors import InputError
from zspec.fits import FitsFile, open_fits
from zspec.remote import Place
from zspec.survey import Arm, Medium, Spectra, Survey, make_options
from zspec.units import air_to_vacuum

log = logging.getLogger("zspec")

OURS = ".zspec.fits"
"""How names of our own catalogues end."""


@dataclass(frozen=True)
class Source:
    """One input: a file, and the survey that reads it once that is known."""

    path: Place
    survey: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def gather(given: Sequence[str | Path], survey: str | None) -> list[Place]:
    """What :func:`expand` finds of files and folders, and after them the files of URLs.

    Of URLs, too, catalogues that zspec wrote are left out.

    Raises what both raise: InputError, PluginError, and ConfigError for a URL that nothing reads.
    """
    found = [one for text in given if remote.is_url(text) for one in remote.find(str(text))]
    urls = [url for url in found if not url.name.endswith(OURS)]
    paths = [Path(one) for one in given if not remote.is_url(one)]
    files = expand(paths, survey) if paths or not urls else []
    return [*files, *dict.fromkeys(urls)]


def expand(paths: Sequence[Path], survey: str | None) -> list[Path]:
    """Files as they are, and of each folder the files that fit a survey's patterns, sorted.

    Catalogues that zspec wrote are not looked for in a folder, and a file is taken once.
    Raises InputError where there is nothing to read, and PluginError for an unknown survey.
    """
    surveys = [plugins.survey(survey)] if survey else list(plugins.installed().values())
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = matching(path, surveys)
            if not inside:
                raise InputError(f"{path}: {_nothing(surveys)}")
            found.extend(inside)
        else:
            found.append(path)
    if not found:
        raise InputError("no input: name files or folders")
    once: dict[Path, Path] = {}
    for path in found:
        once.setdefault(path.resolve(), path)
    if len(once) < len(found):
        log.warning("%d inputs are named twice, and read once", len(found) - len(once))
    return list(once.values())


def matching(folder: Path, surveys: Sequence[Survey]) -> list[Path]:
    """Files in a folder that fit a pattern of these surveys, sorted; none of our catalogues."""
    patterns = [pattern for survey in surveys for pattern in survey.file_patterns]
    found = {file for pattern in patterns for file in folder.glob(pattern)}
    return sorted(file for file in found if not file.name.endswith(OURS))


def _nothing(surveys: Sequence[Survey]) -> str:
    """Why a folder has no spectra: the patterns of one survey, or where those of all are."""
    if len(surveys) == 1:
        return f"no file in this folder fits {', '.join(surveys[0].file_patterns)}"
    return (
        "no file in this folder has a name that spectra of a survey have (see 'zspec surveys -v'); "
        "name the files, as in FOLDER/*.fits"
    )


def recognise(handle: FitsFile) -> Survey:
    """The only survey that recognises a file.

    Raises InputError where none does, or several do.
    """
    that = recognising(handle)
    if not that:
        if handle.has("REDSHIFTS") or handle.has("ZBEST"):
            raise InputError(f"{handle.path}: is a catalogue of redshifts; spectra were expected")
        known = ", ".join(plugins.installed())
        raise InputError(f"{handle.path}: no survey recognises it (known: {known})")
    if len(that) > 1:
        raise InputError(
            f"{handle.path}: {' and '.join(that)} recognise it; choose one with --survey"
        )
    return plugins.installed()[that[0]]


def recognising(handle: FitsFile) -> list[str]:
    """Names of the surveys that recognise a file."""
    return [name for name, survey in plugins.installed().items() if _sniffs(survey, handle)]


def _sniffs(survey: Survey, handle: FitsFile) -> bool:
    """Whether a survey recognises a file; one that raises, against the contract, does not."""
    try:
        return bool(survey.sniff(handle.hdus))
    except InputError:
        raise
    except Exception as error:
        log.warning("%s: sniff of survey %s failed: %r", handle.path, survey.name, error)
        return False


def count(source: Source) -> int:
    """How many rows a source has, by its headers; 0 where its adapter does not say.

    Raises InputError where the file cannot be opened, or no survey recognises it.
    """
    assert isinstance(source.path, Path)  # a URL is one unit
    with open_fits(source.path) as handle:
        survey = plugins.survey(source.survey) if source.survey else recognise(handle)
        try:
            return survey.count(handle.hdus) or 0
        except Exception as error:
            log.warning("%s: count of survey %s failed: %r", source.path, survey.name, error)
            return 0


def read(source: Source, rows: range | None = None) -> tuple[Survey, Iterator[Spectra]]:
    """The survey that reads a source, and its spectra (or those of some rows) in chunks, in vacuum.

    A survey that is named reads the file even if it does not recognise it: its options may tell it
    how. Raises InputError where the file is no file of that survey, or what it holds makes no
    sense, and ConfigError for an option that the survey does not have.
    """
    if isinstance(source.path, Path):
        return _read(source.path, source, rows)
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(remote.fetched(source.path))
        survey, chunks = _read(path, source, rows)
        return survey, _within(stack.pop_all(), chunks)


def _within(stack: contextlib.ExitStack, chunks: Iterator[Spectra]) -> Iterator[Spectra]:
    """The same chunks; what they are read from is kept until then."""
    with stack:
        yield from chunks


def _read(path: Path, source: Source, rows: range | None) -> tuple[Survey, Iterator[Spectra]]:
    """See :func:`read`; of the file that is here."""
    with open_fits(path) as handle:
        survey = plugins.survey(source.survey) if source.survey else recognise(handle)
        others = [] if _sniffs(survey, handle) else recognising(handle)
    hint = f"; try --survey {others[0]}" if others else ""
    options = make_options(survey, source.options)
    return survey, _checked(path, survey, survey.read(path, rows, options), hint)


def _checked(path: Path, survey: Survey, chunks: Iterator[Spectra], hint: str) -> Iterator[Spectra]:
    """The same chunks in vacuum; values that no Arm or Spectra can hold are the file's fault."""
    try:
        for spectra in chunks:
            arms = tuple(in_vacuum(arm, survey.medium) for arm in spectra.arms)
            yield dataclasses.replace(spectra, arms=arms)
    except InputError as error:
        raise InputError(f"{error}{hint}") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def in_vacuum(arm: Arm, medium: Medium) -> Arm:
    """The same arm with wavelengths in vacuum; ``medium`` is the survey's, the arm's own wins."""
    if (arm.medium or medium) == "vacuum":
        return arm
    return dataclasses.replace(arm, wave=air_to_vacuum(arm.wave), medium="vacuum")
