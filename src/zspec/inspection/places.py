"""Where the spectra of a catalogue lie: column FILE is the path as it was given to predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zspec import remote
from zspec.errors import InputError
from zspec.remote import Place, Url


def locate(file: str, catalogue: Path, given: Sequence[Path], alone: bool = False) -> Place:
    """The file that column FILE means.

    ``given`` are files and folders that the user names; of those the one whose path ends most
    alike, in the file's name at least, else the only one where the catalogue has one FILE
    (``alone``). Without any: FILE as it is, from the catalogue's folder, and beside the catalogue;
    of a URL what is there, since a file here that has its name need not be the same. Raises
    InputError where there is none, or where two end alike.
    """
    if not given and remote.is_url(file):
        return Url(file)
    if not given:
        places = [Path(file), catalogue.parent / file, catalogue.parent / Path(file).name]
        for place in places:
            if place.is_file():
                return place
        raise InputError(f"{catalogue}: its spectra {file} are not found; name them after it")
    found = [place for path in given for place in _within(path, file)]
    if not found and alone and len(given) == 1 and given[0].is_file():
        return given[0]
    best = max((alike(place, file) for place in found), default=0)
    nearest = sorted({place for place in found if alike(place, file) == best})
    if not nearest:
        raise InputError(f"{catalogue}: its spectra {file} are not among the files that are named")
    if len(nearest) > 1:
        both = " and ".join(map(str, nearest[:2]))
        raise InputError(f"{catalogue}: its spectra {file} may be {both}; name one of them")
    return nearest[0]


def _within(path: Path, file: str) -> list[Path]:
    """A file that has the name, or those of a folder that end like FILE."""
    name = Path(file).name
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        return [path] if path.name == name else []
    parts = Path(file).parts
    tails = (path.joinpath(*parts[i:]) for i in range(len(parts)) if parts[i] != Path(file).anchor)
    return [tail for tail in tails if tail.is_file()]


def alike(path: Path, file: str) -> int:
    """How many trailing parts two paths share.

    >>> alike(Path("/data/17/coadd.fits"), "old/17/coadd.fits")
    2
    """
    pairs = zip(reversed(path.absolute().parts), reversed(Path(file).parts), strict=False)
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count
