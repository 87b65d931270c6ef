"""Kill ``zspec predict`` at random moments, resume, compare: ``kill_and_resume.py FOLDER SEED N``.

A process of its own, which forks: no child has to import anything. Prints one line of JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from conftest import Toy, ToyEstimator, write_toy

from zspec import checkpoint, plugins, shards, work
from zspec.cli.app import build

FILES = [f"toy-{name}.fits" for name in "abc"]
COMMAND = ["predict", *FILES, "--survey", "toy", "--chunk", "2", "-o", "z.fits"]


class Slow(ToyEstimator):
    def predict(self, chunk, want=frozenset()):
        time.sleep(0.002)
        return super().predict(chunk, want)


def child(words):
    """Fork a zspec; the parent gets its process id."""
    pid = os.fork()
    if pid:
        return pid
    sys.argv = ["zspec", *COMMAND]  # what the header says: the same for all
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open("stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    try:
        build()(words)
    except SystemExit as stop:
        os._exit(int(stop.code or 0))
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    os._exit(9)


def whole_run(words):
    began = time.monotonic()
    status = os.waitstatus_to_exitcode(os.waitpid(child(words), 0)[1])
    return status, time.monotonic() - began


def main(folder, seed, trials):
    os.chdir(folder)
    plugins.surveys().found["toy"] = (Toy, "toy-dist 1.2")
    checkpoint.load_estimator = lambda model, device: Slow()
    work.SMALL, shards.KEEP_SECONDS = 0, 0.0
    for i, name in enumerate(FILES):
        write_toy(Path(name), range(100 * i, 100 * i + 24), labelled=i == 1)
    sys.argv = ["zspec", *COMMAND]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        build()(COMMAND)  # here, so that no child has to import anything
    expected = Path("z.fits").read_bytes()
    Path("z.fits").unlink()
    status, lasts = whole_run(COMMAND)
    moments, kept, killed = random.Random(seed), 0, 0
    for _ in range(trials):
        for path in Path().glob("z.fits"):
            path.unlink()
        pid = child(COMMAND)
        time.sleep(moments.uniform(0.02, 1.0) * lasts)
        os.kill(pid, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        kept += len(list(Path().glob("z.parts/shard-*.fits"))) > 0
        status, _ = whole_run([*COMMAND, "--resume"])
        assert status == 0, Path("stderr.txt").read_text()
        assert Path("z.fits").read_bytes() == expected
        left = {path.name for path in Path().iterdir()} - {*FILES, "z.fits", "stderr.txt"}
        assert not left, left
    sys.stdout.write(json.dumps({"killed": killed, "with shards": kept, "seconds": lasts}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
