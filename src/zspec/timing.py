"""Where the time goes: seconds by stage."""

from __future__ import annotations

import time


class Stopwatch:
    """Adds to a mapping what each stage took since the last lap."""

    def __init__(self, seconds: dict[str, float]) -> None:
        """Start; ``seconds`` is added to, and may hold something already."""
        self.seconds = seconds
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """What passed since the last lap was this stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    def skip(self) -> None:
        """What passed since the last lap belongs to no stage of this one."""
        self._last = time.perf_counter()
