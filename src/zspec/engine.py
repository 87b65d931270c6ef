"""What carries out units of work: this process, several of this machine, or a cluster.

Each gives results as they are finished, in any order: shards and catalogues do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from zspec.estimator import Estimator
from zspec.prediction import Report, Result, Task, predict_unit
from zspec.work import Unit

Progress = Callable[[Report], None]
F = TypeVar("F")


class Engine(Protocol):
    """Predicts units; to be used in a ``with``, and for any number of runs in it."""

    def __enter__(self) -> Self:
        """Itself; what it needs is started here, or with the first unit."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what was started."""
        ...

    def run(self, units: Iterable[Unit], progress: Progress) -> Iterator[Result]:
        """What became of each unit, as it is finished. Units are asked for when there is room."""
        ...


class Here:
    """This process: one unit after the other."""

    def __init__(self, estimator: Estimator, task: Task) -> None:
        """A model that is loaded, and what is asked of it."""
        self._estimator = estimator
        self._task = task

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to end."""

    def run(self, units: Iterable[Unit], progress: Progress) -> Iterator[Result]:
        """What became of each unit, in order."""
        for unit in units:
            yield predict_unit(unit, self._estimator, self._task, progress)
            progress(Report(0, unit.ends))


def keep_busy(
    units: Iterable[Unit],
    submit: Callable[[Unit], F],
    wait: Callable[[list[F]], Any],
    room: Callable[[], int],
) -> Iterator[tuple[Unit, F]]:
    """Each unit with its future once that is done; so many are under way as there is ``room`` for.

    ``wait`` is that of the futures' own library: it returns sets of those done and not done, when
    any is done.
    """
    under_way: dict[F, Unit] = {}
    for unit in units:
        under_way[submit(unit)] = unit
        while under_way and len(under_way) >= room():
            yield from _finished(under_way, wait)
    while under_way:
        yield from _finished(under_way, wait)


def _finished(under_way: dict[F, Unit], wait: Callable[[list[F]], Any]) -> Iterator[tuple[Unit, F]]:
    """Those that are done, in the order of the units; they are under way no more."""
    done = wait(list(under_way)).done
    for future in [one for one in under_way if one in done]:
        yield under_way.pop(future), future


def told(results: Iterable[Result], progress: Progress) -> Iterator[Result]:
    """The same results; progress is told of each once it is taken."""
    reached = 0.0
    for result in results:
        yield result
        reached = max(reached, result.unit.ends)
        progress(Report(result.rows, reached))
