"""Files on object stores, by their URL: fetched whole by fsspec, one after the other.

``s3://bucket/coadd.fits``, ``https://...``, ``memory://...``: whatever the drivers of fsspec that
are installed know. A file is fetched into a temporary folder (TMPDIR says where) under its own
name, read as any other, and removed. What stands beside it, as a table of labels, is not fetched.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zspec import leftovers
from zspec.errors import ConfigError, InputError

SCHEME = re.compile(r"[A-Za-z][\w+.-]+(::[A-Za-z][\w+.-]+)*://")
"""How a URL of fsspec begins; two may be chained, as ``simplecache::s3://``."""
STAMPS = (
    *("ETag", "etag", "md5Hash", "Content-MD5", "Digest"),
    *("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "modify"),
    *("modificationTime", "created"),
)
"""What drivers call that which changes with a file, the surest first."""

SILENCE = 60.0
"""Seconds for which a web server may say nothing."""


@dataclass(frozen=True)
class Url:
    """One file."""

    text: str

    def __str__(self) -> str:
        """As it was given: column FILE, and half of a unit's id."""
        return self.text

    @property
    def name(self) -> str:
        """What stands behind the last slash."""
        return re.split(r"[?#]", self.text)[0].rsplit("/", 1)[-1]


Place = Path | Url
"""Where spectra are."""


def is_url(place: object) -> bool:
    """Whether that is a URL, or the text of one; no Path is."""
    return SCHEME.match(str(place)) is not None


def local(place: Path | str) -> Path:
    """The path of a file of this machine, also of one that is named by ``file://``."""
    return Path(re.sub(r"^(file|local)://", "", str(place)))


def find(text: str) -> list[Url]:
    """The files that a URL names: itself, or all that fit its ``*``, sorted.

    Raises ConfigError where fsspec or the driver is not installed, or ``*`` stands in a chain, and
    InputError where nothing fits, or the store does not say.
    """
    driver, path = _driver(text)
    if "*" not in text:
        return [Url(text)]
    if "::" in text:
        raise ConfigError(f"{text}: '*' does not go with '::'; name the files")
    with _telling(text):
        there = driver.glob(path, detail=True)
    names = sorted(name for name, facts in there.items() if facts.get("type") != "directory")
    found = [Url(str(driver.unstrip_protocol(name))) for name in names]
    if not found:
        raise InputError(f"{text}: no file fits it")
    return found


def stamp(text: str) -> str:
    """Size, and what changes with a file; empty where it is gone or does not answer."""
    try:
        driver, path = _driver(text)
        with _telling(text):
            facts = driver.info(path)
    except (ConfigError, InputError):
        return ""
    changes = next((str(facts[key]) for key in STAMPS if facts.get(key)), "")
    return f"{facts.get('size')}:{changes}"


@contextlib.contextmanager
def fetched(url: Url) -> Iterator[Path]:
    """A copy of a file, for as long as it is read; errors within name the URL.

    Raises InputError where it cannot be fetched.
    """
    driver, path = _driver(url.text)
    with leftovers.folder("zspec-fetched-") as folder:
        local = folder / (url.name or "file")
        with _telling(url.text):
            driver.get_file(path, str(local))
        try:
            yield local
        except InputError as error:
            raise InputError(str(error).replace(str(local), url.text)) from None


def _driver(text: str) -> tuple[Any, str]:
    """What knows files of such URLs, and the file's name there. Raises ConfigError."""
    try:
        import fsspec
    except ImportError:
        raise ConfigError(
            f"{text}: URLs need fsspec; pip install 'zspec-redshift[remote]'"
        ) from None
    try:
        given = fsspec.config.conf.get(text.split(":")[0], {})
        driver, path = fsspec.core.url_to_fs(text, **({} if given else _options(text)))
    except ImportError as error:  # it says which package to install
        raise ConfigError(f"{text}: {_line(error)}") from None
    except Exception as error:  # whatever a driver raises, as for a URL that it cannot parse
        raise ConfigError(f"{text}: fsspec does not take it ({_line(error)})") from None
    return driver, str(path)


def _options(text: str) -> dict[str, Any]:
    """What is not a driver's own default: a long download is no error, but a silent server is one.

    aiohttp gives a whole download five minutes; here each piece of it has ``SILENCE``.
    """
    if not re.match("https?:", text):
        return {}
    limit = importlib.import_module("aiohttp").ClientTimeout(
        total=None, sock_connect=SILENCE, sock_read=SILENCE
    )
    return {"client_kwargs": {"timeout": limit}}


@contextlib.contextmanager
def _telling(text: str) -> Iterator[None]:
    """Whatever a driver raises is one line: each has errors of its own, of no common base."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{text}: no such file") from None
    except Exception as error:
        raise InputError(f"{text}: cannot be fetched ({_line(error)})") from None


def _line(error: Exception) -> str:
    """The first line of an error, and its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
