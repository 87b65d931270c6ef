"""Write the generated pages: ``python docs/generate.py``; building the site does it too.

Those of ``PAGES`` are in the repository, and a test holds that they are up to date; those of
``BUILT`` are not: they are written whenever the site is built.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomli

import zspec
from zspec import catalog, checkpoint, flags, plugins, training
from zspec.cli import models as listing
from zspec.cli.app import COMMANDS, common
from zspec.cli.surveys import describe
from zspec.metrics import METRICS, say_threshold
from zspec.survey import option_help

HERE = Path(__file__).parent
NOTE = "<!-- written by docs/generate.py; do not edit -->\n\n"


def catalogue() -> str:
    """Every HDU and column of the catalogue, and every bit of ZWARN."""
    tables = {**catalog.HDUS}
    tables["REDSHIFTS"] = (*catalog.REDSHIFTS, *catalog.REQUESTED, *catalog.TRUTH)
    parts = [NOTE + "# The catalogue\n"]
    intro = (
        "One FITS file. The primary header names the versions of zspec, adapter and model, the "
        "SHA-256 of the checkpoint, the options and the command. Columns that an adapter passes "
        "through and those of an estimator follow the ones below, in CLASSPROB those that it has "
        "for each class; `Z_TRUE` and `CLASS_TRUE` are there only where an input has labels. HDU "
        "`ZPDF` (`zspec predict --zpdf`) and columns `ZCRB` (`--bound`), `ZLOW` and `ZHIGH` "
        "(`--conformal 0.9`) come on request.\n"
    )
    parts.append(intro)
    for name, columns in tables.items():
        parts.append(f"## HDU {name}\n")
        rows = [f"| `{c.name}` | {c.dtype} | {c.unit} | {c.sentence} |" for c in columns]
        parts.append("| column | type | unit | meaning |\n|---|---|---|---|\n" + "\n".join(rows))
        parts.append("")
    parts.append("## ZWARN\n\n0 means good, and nothing else does.\n")
    rows = [
        f"| {f.value.bit_length() - 1} | `{f.name}` | {flags.SENTENCES[f]} |" for f in flags.ZWarn
    ]
    parts.append("| bit | name | meaning |\n|---|---|---|\n" + "\n".join(rows))
    parts.append("\nBits 16-19 are DESI's and 20-23 the user's; zspec sets neither.")
    return "\n".join(parts) + "\n"


def surveys() -> str:
    """Every adapter that comes with zspec: its declarations and its options."""
    parts = [NOTE + "# Surveys\n"]
    for survey in plugins.installed().values():
        if plugins.surveys().found[survey.name][1].startswith("zspec-redshift "):
            parts.append(_survey(describe(survey), type(survey).__doc__ or ""))
    return "\n".join(parts)


def _survey(facts: Mapping[str, Any], doc: str) -> str:
    """One adapter."""
    first, last = facts["wavelength"]
    lines = [
        f"## {facts['title']}\n",
        f"`--survey {facts['name']}`. {' '.join(doc.split())}\n",
        f"- data model: <{facts['url']}>",
        f"- paper: {facts['reference']}",
        f"- wavelengths: {facts['medium']}, {facts['frame']}; grid {first:.0f} to {last:.0f} Å",
        f"- arms: {', '.join(facts['arms'])}",
        f"- files in a folder: {', '.join(f'`{p}`' for p in facts['file_patterns'])}",
    ]
    lines += [
        f"- `-S {name}={_shown(option['default'])}`: {' '.join(option['help'].split())}"
        for name, option in facts["options"].items()
    ]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    """A default as one would type it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def metrics() -> str:
    """Every metric: its equation, what it needs, its threshold and which way is better."""
    better = {"high": "higher", "low": "lower", "thr": "the threshold", "": ""}
    rows = []
    for m in METRICS:
        thr, sentence = say_threshold(m.thr, m.thr_unit), m.sentence.replace("|", "\\|")
        cells = (f"`{m.name}`", sentence, ", ".join(m.needs), thr, better.get(m.better, m.better))
        rows.append(f"| {' | '.join(cells)} |")
    head = "| metric | definition | needs | thr | better |\n|---|---|---|---|---|\n"
    where = "d = (z_p - z_t) / (1 + z_t); `--thr` changes a threshold, which is always printed.\n\n"
    return NOTE + "# Metrics\n\n" + where + head + "\n".join(rows) + "\n"


# ---- commands, from their functions: what typer makes the command line of


def commands() -> str:
    """Every command with its arguments, options and examples."""
    about = (
        "`zspec COMMAND --help` says the same. Results go to stdout; progress, log and warnings to "
        "stderr. A mistake is one line and exit status 2; a bug keeps its traceback.\n"
    )
    parts = [NOTE + "# Commands\n", about, "## zspec\n", _parameters(common)]
    for command in COMMANDS:
        name = command.__name__.replace("_", "-")
        parts += [f"## zspec {name}\n", _prose(inspect.getdoc(command) or ""), _parameters(command)]
    return "\n".join(parts)


def _prose(doc: str) -> str:
    """A docstring with its examples, lines that begin with ``zspec``, as a block."""
    prose, examples = [], []
    for line in doc.splitlines():
        (examples if line.strip().startswith("zspec ") else prose).append(line)
    block = ["```", *map(str.strip, examples), "```", ""] if examples else []
    return "\n".join([_marked("\n".join(prose).strip()), "", *block])


def _marked(text: str) -> str:
    r"""Prose of a docstring as Markdown: options as code, what would be markup as it is.

    >>> _marked("A|B, as --z-range QSO or -o; see 'zspec surveys -v'")
    'A\\|B, as `--z-range` QSO or `-o`; see `zspec surveys -v`'
    """
    escaped = re.sub(r"([|*<])", r"\\\1", text)
    option = r"(?<![\w`-])(--?[a-zA-Z][\w-]*)(?![\w`])"
    return re.sub(rf"'(zspec [^']+)'|{option}", lambda m: f"`{m[1] or m[2]}`", escaped)


def _parameters(command: Callable[..., Any]) -> str:
    """Table of the parameters of a command."""
    hints = typing.get_type_hints(command, include_extras=True)
    rows = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind, info = typing.get_args(hints[name])[:2]
        words = [str(word) for word in (info.default, *(info.param_decls or ()))]
        given = [word for word in words if word.startswith("-")] or [f"--{name.replace('_', '-')}"]
        shown = ", ".join(f"`{word}`" for word in given)
        if type(info).__name__ == "ArgumentInfo":
            shown = (info.metavar or name).upper()
        text = " ".join(filter(None, (_marked(info.help or ""), _default(parameter.default))))
        rows.append(f"| {shown} | {_kind(kind)} | {text} |")
    return "| parameter | type | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _kind(kind: Any) -> str:
    """A type in a word."""
    inner = [part for part in typing.get_args(kind) if part is not type(None)]
    if inner:
        many = typing.get_origin(kind) is list or typing.get_origin(inner[0]) is list
        return _kind(inner[0]) + (", ..." if many and typing.get_origin(inner[0]) is None else "")
    words = {"bool": "flag", "int": "whole number", "float": "number", "str": "text"}
    return words.get(getattr(kind, "__name__", ""), getattr(kind, "__name__", str(kind)).lower())


def _default(value: Any) -> str:
    """What is taken where nothing is given; nothing where there is no such thing."""
    plain = value is inspect.Parameter.empty or value is None or value is False or value == ""
    return "" if plain or not str(value) else f"Default: `{value}`."


def recipes() -> str:
    """Every recipe that ships, as it is."""
    about = (
        "A recipe is TOML: `zspec train NAME` for one that ships, `zspec train mine.toml` for one "
        "of your own. `--preset NAME` takes what a table `[presets.NAME]` changes, `--set "
        "table.key=value` changes one value; a key that does not exist is an error that names the "
        "nearest. Key `estimator` says whose `train` runs.\n"
    )
    parts = [NOTE + "# Recipes\n", about, _settings()]
    for name, path in training.shipped().items():
        parts += [f"## {name}\n", f"```toml\n{path.read_text(encoding='utf-8').rstrip()}\n```\n"]
    return "\n".join(parts)


def _settings() -> str:
    """Every key of a recipe for the networks: fields of dataclasses with their docstrings."""
    from zspec.gasnet2.recipe import Recipe as GasnetRecipe
    from zspec.slitless.recipe import Recipe as SlitlessRecipe

    parts = []
    for title, recipe in (("gasnet2", GasnetRecipe), ("slitless-bnn", SlitlessRecipe)):
        parts.append(f"## Keys of {title}\n\n| key | default | meaning |\n|---|---|---|")
        parts += [*_keys("", recipe), ""]
    return "\n".join(parts)


def _keys(table: str, options: type[Any]) -> list[str]:
    """Rows of one table of a recipe, and of the tables within it."""
    texts, rows = option_help(options), []
    hints = typing.get_type_hints(options)
    for name, one in options.__dataclass_fields__.items():
        inner = next(
            filter(dataclasses.is_dataclass, (hints[name], *typing.get_args(hints[name]))), None
        )
        if inner is not None:
            rows += _keys("[class]." if name == "classes" else f"{name}.", inner)
            continue
        default = "" if one.default is dataclasses.MISSING else f"`{_toml(one.default)}`"
        text = " ".join(texts.get(name, "").split()).replace("|", "\\|")
        rows.append(f"| `{table}{name}` | {default} | {text} |")
    return rows


def _toml(value: Any) -> str:
    """A default as a recipe has it.

    >>> _toml(("a", 0.5, True))
    '["a", 0.5, true]'
    """
    return json.dumps(value)


# ---- the library


API: Mapping[str, tuple[str, ...]] = {
    "Reading and predicting": ("read", "predict", "from_specutils", "to_specutils"),
    "Spectra": ("Spectra", "Arm", "Truth", "SpectrumBatch", "WaveGrid"),
    "A survey's adapter": ("Survey", "HDU", "hookimpl", "hash_id", "mock_spectra"),
    "FITS files": ("open_fits", "FitsFile", "write_fits"),
    "Units": ("air_to_vacuum", "to_angstrom", "to_flux_unit"),
    "Estimators": (
        "Estimator",
        "Chunk",
        "ClassSpec",
        "ExtraColumn",
        "Prediction",
        "Candidates",
        "Densities",
        "ZWarn",
        "cramer_rao",
    ),
    "Errors": ("ZspecError", "ConfigError", "InputError", "OutputError", "PluginError"),
}
"""The public names, by what they are for; a new one that is not here comes under "More"."""


def api() -> str:
    """Every public name, by Sphinx's autodoc."""
    about = (
        "`import zspec` costs nothing: names are loaded when they are first used. Arrays are "
        "numpy's; n is the number of spectra. Wavelengths are in Å, in vacuum and the observed "
        "frame; flux is in 1e-17 erg/s/cm²/Å. `zspec.testing` has the contract suites that a "
        "plugin's tests inherit.\n"
    )
    listed = {name for names in API.values() for name in names}
    more = tuple(sorted(set(zspec.__all__) - listed))
    parts = [NOTE + "# Library\n", about]
    for title, names in ({**API, "More": more} if more else API).items():
        parts += [f"## {title}\n", *(_autodoc(name) for name in names)]
    parts += ["## Tests of plugins\n", *map(_contract, ("SurveyContract", "EstimatorContract"))]
    return "\n".join(parts)


def _autodoc(name: str) -> str:
    """One public name."""
    value = getattr(zspec, name)
    kind = "autoclass" if inspect.isclass(value) else "autofunction"
    members = "   :members:\n" if kind == "autoclass" else ""
    if not callable(value) or type(value).__name__ == "HookimplMarker":
        doc = "Marks a function as the implementation of a hook of zspec; see `zspec.hookspecs`."
        return f"`zspec.{name}`\n: {doc}\n"
    return f"```{{eval-rst}}\n.. {kind}:: zspec.{name}\n{members}```\n"


def _contract(name: str) -> str:
    return f"```{{eval-rst}}\n.. autoclass:: zspec.testing.{name}\n   :members:\n```\n"


USES: Mapping[str, str] = {
    "likelihood": "class, redshift and uncertainty of any optical spectrum with errors",
    "zspec": "the same as `likelihood`, with a network that proposes what is then fitted",
    "gasnet2": "fine classes of the survey's spectra; small weights: rough z",
    "slitless-bnn": "redshifts of slitless spectra, with what the network does not know in ZERR",
}
"""What a model of each estimator is for."""


def models() -> str:
    """A card for every model that ships, of what its checkpoint says."""
    about = (
        "Written from the checkpoints themselves: `zspec models`, and `zspec info FILE` for one of "
        "your own. All weights come with zspec, under its licence (BSD-3-Clause), and were learned "
        "by `zspec train` from data that do not. Of the figures, mae is the mean absolute error of "
        "redshifts, split the numbers of spectra in training, validation and test, right the "
        "metric of that name, and real 4 are real spectra at a quarter of their SNR.\n"
    )
    parts = [NOTE + "# Model cards\n", about]
    for name, path in checkpoint.models().items():
        parts.append(_card(name, path))
    return "\n".join(parts)


def _card(name: str, path: Path) -> str:
    """One model."""
    meta = checkpoint.metadata(path)
    made = checkpoint.load_estimator(name)
    facts = {
        "for": USES[meta["estimator"]],
        "estimator": f"`{meta['estimator']}`: {made.title}",
        "size": f"{path.stat().st_size / 1e6:.1f} MB, format {meta['format']}",
        "made by": f"{_maker(meta)}, zspec {meta.get('zspec', '')}",
        "classes": ", ".join(meta.get("classes", [])),
        "surveys": ", ".join(meta.get("surveys", [])),
        "pixels": listing.describe_grid(meta.get("grid")),
        "figures of its validation": "<br>".join(_figures(meta.get("figures", {}))),
        "calibrated": "yes" if made.calibrated else "no: ZCONF is NaN",
        "default for": _default_for(name, meta),
    }
    rows = [f"| {key} | {value} |" for key, value in facts.items() if value not in ("", None)]
    table = "| fact | of this model |\n|---|---|\n" + "\n".join(rows)
    return f"## {name}\n\n{table}\n\n{_limits(str(meta['estimator']))}\n"


def _maker(meta: Mapping[str, Any]) -> str:
    """The command that makes such a checkpoint, if its recipe ships as it was."""
    recipes = {
        name: tomli.loads(path.read_text(encoding="utf-8"))
        for name, path in training.shipped().items()
    }
    same = [name for name, recipe in recipes.items() if recipe == meta.get("recipe")]
    command = f"`zspec train {same[0]}`" if same else "`zspec train`, by the recipe that it holds"
    return f"{command}, seed {meta['seed']}" if "seed" in meta else command


def _figures(figures: Mapping[str, Any]) -> list[str]:
    """Stored figures one by one, those by class as a list."""
    lines = []
    for name, value in figures.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {listing.rounded(one)}" for key, one in value.items())
        lines.append(f"{name.replace('_', ' ')}: {listing.rounded(value)}")
    return lines


def _default_for(name: str, meta: Mapping[str, Any]) -> str:
    """Surveys for which ``zspec predict`` takes the model where none is named."""
    every = ["all surveys that have no other"] if name == checkpoint.DEFAULT else []
    return ", ".join([*every, *meta.get("default_for", [])])


def _limits(estimator: str) -> str:
    """Where figures and limits of a model stand."""
    page = {"zspec": "joint"}.get(estimator, estimator)
    assert (HERE / "explanation" / f"{page}.md").exists(), f"no page explains {estimator}"
    return (
        f"How it works, what it was measured on and what it cannot do: "
        f"[{estimator}](../explanation/{page}.md); what goes wrong: "
        "[known failures](../explanation/failures.md)."
    )


PAGES: Mapping[str, Callable[[], str]] = {
    "reference/catalogue.md": catalogue,
    "reference/metrics.md": metrics,
    "reference/surveys.md": surveys,
}
"""Pages of the repository."""
BUILT: Mapping[str, Callable[[], str]] = {
    "reference/commands.md": commands,
    "reference/recipes.md": recipes,
    "reference/api.md": api,
    "reference/models.md": models,
}
"""Pages that are made with the site."""


def write() -> None:
    """Write all pages; one that is the same is left alone."""
    for page, text in {**PAGES, **BUILT}.items():
        path, made = HERE / page, text()
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != made:
            path.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    write()
