from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

COUNT = """
import resource, numpy, zspec.memory
{}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
numpy.full(1 << 23, 1.0)
before = faults()
for _ in range(10):
    numpy.full(1 << 23, 1.0)
print(faults() - before)
"""
"""Ten arrays of 64 MB, each freed before the next."""


def faults(first: str) -> int:
    """Pages that a process was given meanwhile."""
    said = subprocess.run(
        [sys.executable, "-c", COUNT.format(first)], check=True, capture_output=True, text=True
    )
    return int(said.stdout)


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="a C library without mallopt",
)
def test_arrays_take_the_place_of_those_that_were_freed():
    assert faults("zspec.memory.reuse()") < 0.1 * faults("")
