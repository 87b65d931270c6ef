"""Sessions: ``nox`` runs lint, types and tests; the others are named with ``nox -s``."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import nox

HERE = Path(__file__).parent
nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "venv"


def install(session: nox.Session, *packages: str) -> None:
    session.install("-c", "constraints.txt", *packages)


def shared() -> dict[str, str]:
    """ZSPEC_SHARED where the folder is there, so that no test skips for want of it."""
    folder = Path(os.environ.get("ZSPEC_SHARED") or HERE.parent / "shared")
    return {"ZSPEC_SHARED": str(folder.resolve())} if (folder / "data").is_dir() else {}


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, and that adapters import public names only."""
    install(session, ".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", env={"PYTHONPATH": "src:plugins"})


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict."""
    install(session, ".[types,test]")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """pytest on the installed wheel; ``nox -s tests -- -k sdss`` passes words on."""
    install(session, ".[test,specutils]")
    session.run("pytest", *session.posargs, env=shared())


@nox.session
def cluster(session: nox.Session) -> None:
    """Dask clusters of several processes: poison, lost schedulers, Slurm's jobs run here."""
    install(session, ".[test]")
    session.run("pytest", "tests/test_cluster.py", "-m", "slow or not slow", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Damaged files of every survey, thousands of them: no traceback, no wrong redshift."""
    install(session, ".[test]")
    args = ["-m", "slow or not slow", "--hypothesis-profile", "fuzz", *session.posargs]
    session.run("pytest", "tests/test_fuzz.py", *args)


@nox.session
def browser(session: nox.Session) -> None:
    """The page of ``zspec inspect`` in headless Chromium, which must be installed."""
    install(session, ".[browser]")
    session.run("pytest", "tests/test_inspect.py", *session.posargs, env=shared())


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, with all tutorials executed, and its links; warnings are errors."""
    install(session, ".[docs]")
    session.run("sphinx-build", "-W", "-q", "docs", "docs/_build/html")
    session.run("python", "docs/check_site.py", "docs/_build/html")


@nox.session
def links(session: nox.Session) -> None:
    """Every link of the documentation to other sites; tutorials are not executed."""
    try:
        socket.getaddrinfo("www.python.org", 443)
    except OSError:
        session.skip("no network; links within the site are checked by nox -s docs")
    install(session, ".[docs]")
    words = ["-q", "-b", "linkcheck", "-D", "nb_execution_mode=off"]
    words += ["-D", "suppress_warnings=myst-nb.lexer"]  # known once they are executed
    session.run("sphinx-build", *words, "docs", "docs/_build/links")


@nox.session
def spelling(session: nox.Session) -> None:
    """Common misspellings in documentation, code and messages."""
    install(session, "codespell")
    session.run("codespell", "README.md", "CHANGELOG.md", "docs", "src", "plugins", "examples")


@nox.session
def examples(session: nox.Session) -> None:
    """A third-party plugin beside the zspec wheel in a clean environment: test, then predict."""
    dist = Path(session.create_tmp()).resolve() / "dist"  # the folder changes below
    install(session, "build")
    session.run("python", "-m", "build", "--wheel", "--outdir", str(dist), silent=True)
    wheel = max(dist.glob("zspec_redshift-*.whl"), key=lambda path: path.stat().st_mtime)
    install(session, f"{wheel}[test]", "./examples/zspec-lamost")
    session.chdir("examples/zspec-lamost")
    session.run("pytest", env=shared())
    catalogue = str(dist.parent / "lamost.fits")
    session.run("zspec", "predict", "lamost-example.fits", "-o", catalogue, "--overwrite")
    session.run("zspec", "info", catalogue)
    if found := shared():
        session.run("python", "check_real.py", found["ZSPEC_SHARED"])
    fresh = dist.parent / "zspec-weave"  # what a newcomer's first plugin starts from
    session.run("python", "-c", f"import shutil; shutil.rmtree({str(fresh)!r}, True)")
    session.run("zspec", "new-survey", "WEAVE", "-o", str(fresh))
    session.install(str(fresh))
    session.chdir(fresh)
    session.run("pytest")


@nox.session
def bench(session: nox.Session) -> None:
    """Figures of the README: cross-validation over objects on real SDSS spectra."""
    install(session, ".[bench]")
    session.run("python", "benchmarks/likelihood_sdss.py", *session.posargs, env=shared())
