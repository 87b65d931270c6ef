"""What a run has finished, kept beside its catalogue until that is whole.

``zcat.parts`` stands beside ``zcat.fits`` while a run is at work: a manifest, and shards that each
hold some units. Both are written beside their names and renamed, so that whatever stops a run costs
the units since the last shard and nothing else. A run that is over before its first shard is due
never makes the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from zspec import catalog, manifest, merging, records, remote, work
from zspec.catalog import Labels
from zspec.errors import ConfigError, InputError, OutputError
from zspec.merging import Seen, ignore
from zspec.prediction import Result, refuse_if_none
from zspec.records import Record
from zspec.work import Unit

KEEP_ROWS = 8192
"""Rows that wait in memory for the next shard."""
KEEP_SECONDS = 10.0
"""Longest time that finished rows wait for it."""


class Shards:
    """The finished units of one run."""

    def __init__(
        self, output: Path, files: Sequence[str], header: Mapping[str, Any], labels: Labels
    ) -> None:
        """The catalogue to write, its inputs and cards, and what its columns mean."""
        self.output = output
        self.header = dict(header)
        stem = output.name.removesuffix(".gz").removesuffix(".fits")
        self.folder = output.with_name(f"{stem}.parts")
        self.done: dict[str, Record] = {}
        """By the unit's name, or the file's where a whole catalogue is gone on with."""
        self._files = {catalog.ascii_name(file): file for file in files}
        self._labels = labels
        self._closed: set[str] = set()
        self._failed: dict[str, str] = {}
        self._waiting: list[str] = []
        self._since = time.monotonic()
        self._written = 0
        self._lock: IO[str] | None = None
        self._new = False

    def __enter__(self) -> Shards:
        """Themselves; what is finished stays where it is, whatever happens."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let other runs go on with what there is."""
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def _manifest(self) -> Path:
        return self.folder / "manifest.json"

    def begin(self, resume: bool, retry: bool, overwrite: bool) -> None:
        """Take up what an earlier run finished, where that is asked for.

        ``retry`` drops what failed; ``overwrite`` starts anew where that run was told something
        else. Raises OutputError where a run is unfinished or at work, and ConfigError.
        """
        if self.folder.exists():
            self._take_lock()
        if resume or retry:
            try:
                self._take_up()
            except (ConfigError, InputError):
                if not overwrite:
                    raise
                self.done = {}
        elif self._manifest.exists() and not overwrite:
            raise OutputError(
                f"{self.folder}: holds an unfinished run; go on with --resume, or start again "
                "with --overwrite"
            )
        if not self.done or not self._manifest.exists():
            self.discard()
        if retry:
            self._drop([one for one in self.done.values() if one.error])
        self._failed = {one.file: one.error for one in self.done.values() if one.error}
        self._closed = {*self._failed, *records.whole(self.done.values())}

    def _take_up(self) -> None:
        """What an earlier run finished, of this catalogue and of the one that it went on with.

        Raises ConfigError where it was told something else, and InputError.
        """
        if not self._manifest.exists():
            self._load_output()
            return
        command = manifest.check(self._manifest, self.header)["COMMAND"]
        with contextlib.suppress(ConfigError):  # a catalogue that this run is to replace
            self._load_output()
        self._drop([one for one in self.done.values() if one.error])  # which it had dropped
        shards = self._load(sorted(self.folder.glob("shard-*.fits")))
        again = {one.file for one in shards.values()}
        self._drop([one for one in self.done.values() if one.file in again])
        self.done |= shards
        self.header["COMMAND"] = command

    def _take_lock(self) -> None:
        """Keep other runs away. Raises OutputError where one is at work."""
        place = self.folder / "lock"
        try:
            self._lock = place.open("a")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(self._lock.fileno()), place.stat())
        except (BlockingIOError, FileNotFoundError):  # it is held, or its folder went just now
            ours = False
        except OSError:
            return  # a file system without locks
        if not ours:
            self._release()
            raise OutputError(f"{self.folder}: another zspec is at work on it")

    def _load(self, shards: Iterable[Path]) -> dict[str, Record]:
        """Units of earlier shards whose files did not change; damaged shards are done again."""
        found: dict[str, Record] = {}
        for path in shards:
            self._written = max(self._written, int(path.stem.rpartition("-")[2]))
            with contextlib.suppress(InputError):
                read, header, _ = records.read_records(path)
                manifest.check_readers(path, header)
                found |= {one.name: one for one in read}
        self._check_names(found.values())
        now = {name: work.stamp(self._files[name]) for name in {r.file for r in found.values()}}
        return {key: r for key, r in found.items() if now[r.file] in ("", r.stamp)}

    def _check_names(self, found: Iterable[Record]) -> None:
        """Raise ConfigError where inputs, the same by their hash, were named in another way."""
        for one in found:
            if one.file not in self._files:
                raise ConfigError(
                    f"{self.output}: was begun with an input named {one.file}; name inputs as "
                    "then, or start with --overwrite"
                )

    def _load_output(self) -> None:
        """Files of a finished catalogue that did not change since. ConfigError of another one."""
        try:
            found, header, _ = records.read_records(self.output)
        except InputError:
            return
        if said := manifest.differing(header, self.header):
            raise ConfigError(f"{self.output}: {said}; give what it had, or start with --overwrite")
        manifest.check_readers(self.output, header)
        self._check_names(found)
        self.header["COMMAND"] = header["COMMAND"]
        self.done = {one.file: one for one in found}
        written = self.output.stat().st_mtime_ns
        self._drop([one for one in found if work.changed(self._files[one.file]) > written])
        self._new = len(self.done) < len(found)

    def _drop(self, gone: Sequence[Record]) -> None:
        """Forget some units, which will be done again."""
        lost = {id(one) for one in gone}
        self.done = {key: one for key, one in self.done.items() if id(one) not in lost}

    def is_done(self, unit: Unit) -> bool:
        """Whether a unit is finished."""
        return unit.name in self.done

    def is_closed(self, file: str) -> bool:
        """Whether nothing of a file is left to do."""
        return catalog.ascii_name(file) in self._closed

    @property
    def is_whole(self) -> bool:
        """Whether the catalogue is there and nothing is left to do."""
        return self._lock is None and bool(self.done) and self._closed == set(self._files)

    def add(self, result: Result) -> None:
        """Take a finished unit, and write a shard where one is due. Raises OutputError."""
        one = records.record(result)
        self._new = True
        self.done[one.name] = one
        self._waiting.append(one.name)
        if one.error:
            self._failed.setdefault(one.file, one.error)
            self._closed.add(one.file)
        rows = sum(self.done[name].rows for name in self._waiting)
        if rows >= KEEP_ROWS or time.monotonic() - self._since >= KEEP_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits in memory as a shard. Raises OutputError where that fails."""
        if not self._waiting:
            return
        self._make_folder()
        self._written += 1
        path = self.folder / f"shard-{self._written:06d}.fits"
        waiting = [self.done[name] for name in self._waiting]
        merging.write_shard(path, self.header, waiting, self._labels, path.with_suffix(".tmp"))
        for one in records.placed(waiting, path):
            self.done[one.name] = one
        self._waiting.clear()
        self._since = time.monotonic()

    def _make_folder(self) -> None:
        if self._lock is not None:
            return
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be made ({error.strerror})") from None
        self._take_lock()
        if self._manifest.exists():  # of a run that was started and stopped since this one began
            self._release()
            raise OutputError(f"{self.folder}: holds another run by now; go on with --resume")
        manifest.write(self._manifest, self.header)

    def finish(self, seen: Seen = ignore) -> list[Record]:
        """Write the catalogue of all inputs, in their order, and remove the shards.

        Nothing is written where nothing is new. Raises InputError where no input could be read,
        and OutputError.
        """
        self._fail_what_changed()
        self._fail_what_is_not_whole()
        places = {file: number for number, file in enumerate(self._files)}
        done = sorted(self.done.values(), key=lambda r: (places[r.file], r.span or (0, 0)))
        if len(self._failed) == len(self._files):
            self.discard()
            refuse_if_none(list(self._failed.values()), len(self._files))
        if self._new or self._lock is not None or not self.output.exists():
            beside = self.folder / "catalogue.tmp" if self._lock else None
            merging.write_catalogue(self.output, self.header, done, self._labels, seen, beside)
        else:
            for rows in records.rows_of(done, "REDSHIFTS"):
                seen(rows)
        self.discard()
        return done

    def _fail_what_changed(self) -> None:
        """A file that was written while it was read has no rows: they may be half of each."""
        read: dict[str, set[str]] = {}
        for one in self.done.values():
            if one.stamp:
                read.setdefault(one.file, set()).add(one.stamp)
        for file, stamps in read.items():
            fetched = remote.is_url(file)  # as a whole, and what was fetched does not change
            now = "" if fetched else work.stamp(self._files[file])
            if len(stamps) > 1 or now not in ("", *stamps):
                error = f"{file}: changed while it was read; --retry-failed reads it again"
                self._failed.setdefault(file, error)
        self._tell_units()

    def _fail_what_is_not_whole(self) -> None:
        """A file that was cut in two ways, as its rows could not be counted at first, has none."""
        units: dict[str, list[Record]] = {}
        for one in self.done.values():
            units.setdefault(one.file, []).append(one)
        for file, parts in units.items():
            try:
                merging.check_whole(merging.ordered(parts))
            except InputError:
                error = f"{file}: was cut in two ways; --retry-failed reads it again"
                self._failed.setdefault(file, error)
        self._tell_units()

    def _tell_units(self) -> None:
        """Give each unit the error of its file."""
        self.done = {
            key: one if one.error else replace(one, error=self._failed.get(one.file, ""))
            for key, one in self.done.items()
        }

    def discard(self) -> None:
        """Remove what is ours; the manifest goes first, so that half a folder is none.

        Without the lock it is another run's.
        """
        if self._lock is None:
            return
        self._manifest.unlink(missing_ok=True)
        for pattern in ("shard-*.fits", "*.tmp", "*.tmp.gz", "lock"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
        self._release()
        with contextlib.suppress(OSError):  # it is not there, or holds what is not ours
            self.folder.rmdir()
