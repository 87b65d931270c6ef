"""A Dask cluster predicts what one process does, bit for bit, whatever becomes of its workers."""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from zspec import ConfigError, ZspecError, cluster, plugins, prediction, records, schedulers, work
from zspec.cli.app import build
from zspec.sources import Source
from zspec.workers import Loader

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

TASK = prediction.Task(chunk_rows=1)
ROWS = 17
"""Three units of eight rows and less, of a file above work.SMALL."""


@pytest.fixture(scope="module")
def coadd(tmp_path_factory):
    """A file of several units, and one that is no FITS file."""
    folder = tmp_path_factory.mktemp("cluster")
    desi = plugins.survey("desi")
    desi.write(folder / "coadd-a.fits", desi.demo(ROWS, seed=1))
    (folder / "coadd-b.fits").write_text("hello")
    return folder / "coadd-a.fits"


@pytest.fixture(scope="module")
def units(coadd):
    there = [Source(coadd, "desi"), Source(coadd.with_name("coadd-b.fits"), "desi")]
    return list(work.plan(there, TASK.unit_rows))


@pytest.fixture(scope="module")
def here(units):
    """What this process makes of the units."""
    fitter = Loader("likelihood").load()
    return {unit.name: prediction.predict_unit(unit, fitter, TASK) for unit in units}


@pytest.fixture(scope="module")
def local():
    """A cluster of two processes on loopback; they are started again when they die."""
    with schedulers.start_local(2, None) as made:
        yield made


def job(**more):
    loader = Loader("likelihood", **more)
    return cluster.Job(loader, TASK, Loader("likelihood").load().sha256)


def same(one, other):
    first, second = records.record(one), records.record(other)
    assert (first.name, first.error, first.rows) == (second.name, second.error, second.rows)
    tables = [{k: v.tobytes() for k, v in r.tables.items()} for r in (first, second)]
    assert tables[0] == tables[1]


def test_a_worker_killed_in_the_middle_changes_nothing(units, here, local):
    done, killed = [], []
    with cluster.Cluster(local.scheduler_address, job()) as engine:
        for result in engine.run(units, lambda report: None):
            done.append(result)
            if len(done) == 1:
                with distributed.Client(local.scheduler_address, set_as_default=False) as client:
                    killed = list(client.run(os.getpid).values())
                    os.kill(killed[0], signal.SIGKILL)
    assert len(units) == 4
    assert len(killed) == 2
    assert sorted(one.unit.name for one in done) == sorted(here)
    for result in done:
        same(result, here[result.unit.name])


CALM = ({None}, {"1"}, {False}, {"1s"})


def settings_of(client):
    """What workers have of the settings that cost a fit time: as CALM where none does."""
    client.wait_for_workers(2)  # one that was killed comes back
    trims = client.run(os.getenv, "MALLOC_TRIM_THRESHOLD_").values()
    threads = client.run(os.getenv, "OMP_NUM_THREADS").values()
    profiled = client.run(dask.config.get, "distributed.worker.profile.enabled").values()
    ticks = client.run(dask.config.get, "distributed.admin.tick.interval").values()
    return (set(trims), set(threads), set(profiled), set(ticks))


def test_workers_are_not_slowed_by_dask(local):
    with distributed.Client(local.scheduler_address, set_as_default=False) as client:
        assert settings_of(client) == CALM


def test_the_command_line_writes_the_same_catalogue(coadd, local, tmp_path, monkeypatch):
    monkeypatch.setattr("zspec.cli.session.command_line", lambda: "zspec predict")
    monkeypatch.chdir(coadd.parent)  # workers are elsewhere, and names are relative
    words = ["predict", coadd.name, "--survey", "desi", "--chunk", "1", "--model", "likelihood"]
    one, other = tmp_path / "one.fits", tmp_path / "other.fits"
    run = CliRunner()
    assert run.invoke(build(), [*words, "-o", str(one)]).exit_code == 0
    away = [*words, "-o", str(other), "--cluster", local.scheduler_address, "--json"]
    ran = run.invoke(build(), away)
    assert ran.exit_code == 0
    assert json.loads(ran.stdout)["stages"]["likelihood"] > 0
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_a_unit_that_kills_every_worker_costs_its_file_only(units, local):
    mine = os.getpid()

    class Killer(work.Unit):
        """Ends any other process that asks for its file."""

        @property
        def file(self):
            return "poison.fits" if os.getpid() == mine else os._exit(1)

    first = units[0]
    poison = Killer(first.source, first.rows, first.of, first.place, first.ends)
    with cluster.Cluster(local.scheduler_address, job()) as engine:
        done = list(engine.run([poison, units[-1]], lambda report: None))
    errors = {one.unit.file: one.error for one in done}
    assert "each worker that read it was killed" in errors[poison.file]
    assert "coadd-b.fits" in errors[units[-1].file]


@pytest.mark.slow
def test_workers_of_another_environment_are_refused(units, local):
    other = cluster.Job(Loader("likelihood"), TASK, "0" * 64)
    with (
        cluster.Cluster(local.scheduler_address, other) as engine,
        pytest.raises(ConfigError, match="likelihood is another file than here"),
    ):
        list(engine.run(units[:1], lambda report: None))
    old = {**cluster.versions(), "torch": "1.0"}
    other = cluster.Job(Loader("likelihood"), TASK, job().sha256, versions=old)
    with (
        cluster.Cluster(local.scheduler_address, other) as engine,
        pytest.raises(ConfigError, match=r"has torch .*, but this run 1\.0"),
    ):
        list(engine.run(units[:1], lambda report: None))
    mine = {**cluster.versions(), "adapter mine": "zspec-mine 1.2"}
    other = cluster.Job(Loader("likelihood"), TASK, job().sha256, versions=mine)
    with (
        cluster.Cluster(local.scheduler_address, other) as engine,
        pytest.raises(ConfigError, match=r"has adapter mine none, but this run zspec-mine 1\.2"),
    ):
        list(engine.run(units[:1], lambda report: None))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("local:none", "expected local:2"),
        ("nowhere", "expected local:2"),
        ("tcp://127.0.0.1:9", "no scheduler answers"),
        ("slurm:none.toml", "none.toml: No such file"),
    ],
)
def test_a_cluster_that_is_not_there_is_said_in_one_line(place, said, monkeypatch):
    monkeypatch.setattr(schedulers, "ANSWER", "1s")
    with pytest.raises(ConfigError, match=said) as caught, cluster.Cluster(place, job()):
        pass
    assert "\n" not in str(caught.value)


def test_a_worker_without_the_folder_of_the_run_says_so(units, tmp_path):
    with pytest.raises(ConfigError, match="gone: No such file or directory; workers need the file"):
        cluster.perform(replace(job(), folder=str(tmp_path / "gone")), units[0])


def test_two_engines_are_refused(coadd, tmp_path):
    words = ["predict", str(coadd), "-o", str(tmp_path / "z.fits"), "--model", "likelihood"]
    ran = CliRunner().invoke(build(), [*words, "--workers", "2", "--cluster", "local:2"])
    assert isinstance(ran.exception, ConfigError)
    ran = CliRunner().invoke(build(), [*words, "--device", "auto", "--cluster", "local:2"])
    assert "say cpu or cuda" in str(ran.exception)


SBATCH = """#!/bin/sh
# Runs a job's script at once, as Slurm would elsewhere.
sh "$1" > /dev/null 2>&1 &
echo "Submitted batch job $!"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """sbatch and scancel that run jobs here."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "scancel": '#!/bin/sh\nkill "$@"\n'}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.slow
def test_slurm_jobs_predict(units, here, slurm, tmp_path):
    file = tmp_path / "jobs.toml"
    file.write_text(
        f'jobs = 1\nmemory = "2GB"\ninterface = "lo"\nwalltime = "00:05:00"\n'
        f'python = "{sys.executable}"\nlog_directory = "{tmp_path}"\n'
        'job_script_prologue = ["export ZSPEC_SAID=mine"]\n'
        'scheduler_options = {dashboard_address = "127.0.0.1:0"}\n'
    )
    with cluster.Cluster(f"slurm:{file}", job()) as engine:
        done = list(engine.run(units[2:], lambda report: None))
        assert settings_of(engine._client) == CALM
        assert set(engine._client.run(os.getenv, "ZSPEC_SAID").values()) == {"mine"}
    assert len(done) == 2
    for result in done:
        same(result, here[result.unit.name])


def test_a_word_that_slurm_does_not_know(slurm, tmp_path):
    file = tmp_path / "jobs.toml"
    file.write_text('memory = "2GB"\nqeue = "debug"\ninterface = "lo"\n')
    said = pytest.raises(ConfigError, match="did you mean 'queue'")
    with said, cluster.Cluster(f"slurm:{file}", job()):
        pass
    file.write_text("jobs = 0\n")
    with pytest.raises(ConfigError, match="jobs = 0"), cluster.Cluster(f"slurm:{file}", job()):
        pass
    file.write_text('job_script_prologue = "module load x"\n')
    said = pytest.raises(ConfigError, match="'module load x'; expected a list of lines")
    with said, cluster.Cluster(f"slurm:{file}", job()):
        pass


def test_a_job_begins_with_our_settings_and_then_the_users():
    ours = schedulers._prologue("", {})
    assert [line.split("=")[0] for line in ours] == [
        "export DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON",
        "export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED",
        "export DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL",
        "export DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL",
        "export DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL",
        "export DASK_DISTRIBUTED__SCHEDULER__ACTIVE_MEMORY_MANAGER__START",
    ]
    for key in ("job_script_prologue", "env_extra"):
        assert schedulers._prologue("", {key: ["module load x"]}) == [*ours, "module load x"]
    with dask.config.set({"jobqueue.slurm.job-script-prologue": ["module load y"]}):
        assert schedulers._prologue("", {}) == [*ours, "module load y"]
        assert schedulers._prologue("", {"env_extra": ["z"]}) == [*ours, "z"]


@pytest.mark.slow
def test_a_scheduler_that_dies_is_said(units):
    with (
        schedulers.start_local(1, None) as made,
        cluster.Cluster(made.scheduler_address, job()) as engine,
    ):
        results = engine.run(units, lambda report: None)
        next(results)
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        made.close()
        with pytest.raises(ZspecError, match="scheduler was lost"):
            list(results)
