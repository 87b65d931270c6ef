"""Where the time goes: seconds by stage."""

from __future__ import annotations

import time
from collections.abc import Mapping


class Stopwatch:
    """Adds to a mapping what each stage took since the last lap."""

    def __init__(self, seconds: dict[str, float]) -> None:
        """Start; ``seconds`` is added to, and may hold something already."""
        self.seconds = seconds
        self._last = time.perf_counter()

    def lap(self, stage: str, within: Mapping[str, float] | None = None) -> None:
        """What passed since the last lap was this stage, but for what it says of others within."""
        now, within = time.perf_counter(), within or {}
        rest = now - self._last - sum(within.values())
        for name, spent in ((stage, rest), *within.items()):
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
        self._last = now

    def skip(self) -> None:
        """What passed since the last lap belongs to no stage of this one."""
        self._last = time.perf_counter()
