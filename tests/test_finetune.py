"""Fine-tuning: ``zspec train zspec --init`` keeps what helps on objects that it has not seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from zspec import ConfigError, InputError, WaveGrid, checkpoint
from zspec.cli.app import build
from zspec.estimators.joint import Joint
from zspec.estimators.likelihood import Likelihood
from zspec.joint import cases, finetune, fitting, recipe
from zspec.joint.calibration import JointCalibration
from zspec.joint.cases import JointCase
from zspec.joint.recipe import TuneSettings
from zspec.joint.weights import Weights
from zspec.likelihood.validate import Known
from zspec.proposal.model import ProposalModel
from zspec.proposal.network import NetworkSettings
from zspec.simulate import stream
from zspec.training import find_recipe, train

GRID = {"first": 3550, "last": 10450, "step": 1e-3}
SMALL = NetworkSettings(
    channels=4, coarse=4, blocks=1, coarse_blocks=1, lines=2, filters=2, hidden=4, summary=4
)
KNOWN = Weights(
    evidence=0.3, saturation=5e3, network={"GALAXY": 0.9, "QSO": 1.2, "STAR": 0.7}, floor=1e-3
)
TIMID = dataclasses.replace(KNOWN, evidence=0.01, network={"GALAXY": 0.1, "QSO": 0.1, "STAR": 0.1})
"""Believe neither likelihood nor network, so that any other weights are better."""
NUMBER = 24


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A joint estimator with a small network that has learned nothing."""
    torch.manual_seed(0)
    grid = WaveGrid.log(GRID["first"], GRID["last"], GRID["step"])
    table = {
        "seed": 1,
        "grid": GRID,
        "network": dataclasses.asdict(SMALL),
        "data": {"survey": [{"name": "sdss"}]},
        "train": {"batch": 8, "precision": "float32", "device": "cpu"},
    }
    meta = {"recipe": {"estimator": "zspec", "proposal": table}, "seed": 1, "surveys": ["sdss"]}
    likelihood = Likelihood.load(checkpoint.find("likelihood"))
    calibration = JointCalibration(KNOWN, distance=3.0)
    made = Joint(likelihood, ProposalModel(grid, SMALL), calibration, {**meta, "figures": {}})
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    made.save(path)
    return path


@pytest.fixture(scope="module")
def objects() -> list[Known]:
    """Mock galaxies, quasars and stars of SDSS."""
    spectra = next(stream("sdss", 5, NUMBER + 8, split="valid", settings={"artefacts.blank": "0"}))
    assert spectra.truth is not None
    rows = zip(spectra.truth.spectype, spectra.truth.z, strict=True)
    every = [
        Known(f"object {i}", str(kind), float(z), 0.0, spectra[i : i + 1])
        for i, (kind, z) in enumerate(rows)
        if kind
    ]
    return every[:NUMBER]


@pytest.fixture(scope="module")
def solved(start: Path, objects: list[Known]) -> list[JointCase]:
    joint = Joint.load(start)
    return list(cases.real(objects, [joint.likelihood] * 5, joint.proposal, (1,)))


def test_parameters_are_the_weights() -> None:
    """There and back; and what the logarithm cannot hold is held off it."""
    again = fitting.weights_of(fitting.parameters(KNOWN))
    assert again.evidence == pytest.approx(KNOWN.evidence, rel=1e-3)
    assert again.saturation == pytest.approx(KNOWN.saturation, rel=1e-3)
    assert again.network == pytest.approx(KNOWN.network, rel=1e-3)
    assert again.floor == pytest.approx(KNOWN.floor, rel=1e-2)
    assert bool(fitting.parameters(Weights(network={"STAR": 0.0}, floor=0.0)).isfinite().all())


def test_a_prior_holds_the_weights(solved: list[JointCase]) -> None:
    """A tight one leaves them; a loose one lets them go where the loss is less."""
    before = fitting.loss(solved, KNOWN)
    held, same = fitting.refit(solved, KNOWN, 1e-3)
    assert held.evidence == pytest.approx(KNOWN.evidence, rel=0.02)
    assert same == pytest.approx(before, abs=0.02)
    free, after = fitting.refit(solved, KNOWN, 3.0)
    assert after < 0.7 * before
    assert fitting.loss(solved, free) == pytest.approx(after, abs=0.02)


def longer(case: JointCase) -> JointCase:
    """The same case with one more solution, which has no mass."""
    size, parts = len(case.found.label), dict(vars(case.found))
    for name, value in parts.items():
        if isinstance(value, torch.Tensor) and value.shape == (1, size):
            parts[name] = torch.cat([value, value[:, -1:]], 1)
    parts["label"] = torch.cat([case.found.label, case.found.label[-1:]])
    parts["value"][0, -1], parts["shift"][0, -1] = torch.inf, torch.nan
    wide = torch.cat([case.wide, case.wide[:, -1:]], 1)
    return dataclasses.replace(case, found=type(case.found)(**parts), wide=wide)


def test_cases_may_have_any_number_of_solutions(solved: list[JointCase]) -> None:
    """A guide adds solutions to some cases and none to others."""
    mixed = [longer(solved[0]), *solved[1:]]
    assert fitting.loss(mixed, KNOWN) == pytest.approx(fitting.loss(solved, KNOWN), abs=1e-9)


def test_parts_share_no_object(solved: list[JointCase]) -> None:
    """Each case is judged once, by what cases of other objects taught."""
    settings = TuneSettings()
    parts = [finetune.split(solved, part, settings) for part in range(settings.parts)]
    assert sum(len(mine) for mine, _ in parts) == len(solved)
    for mine, others in parts:
        assert not {c.known.key for c in mine} & {c.known.key for c in others}
        assert len(mine) + len(others) == len(solved)


def test_what_is_judged_was_taught_by_others(
    start: Path, objects: list[Known], solved: list[JointCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither weights nor the network of a part see its objects."""
    joint, settings = finetune.started(str(start)), TuneSettings(ladder=(1,), steps=1, mocks=8)
    lessons = finetune.Lessons.of(joint, settings)
    seen: list[set[str]] = []

    def refit(given: list[JointCase], start: Weights, scatter: float) -> tuple[Weights, float]:
        seen.append({case.known.key for case in given})
        return start, 0.0

    def network(self: finetune.Lessons, known: list[Known]) -> object:
        seen.append({one.key for one in known})
        return joint.proposal

    monkeypatch.setattr(finetune.fitting, "refit", refit)
    monkeypatch.setattr(finetune.Lessons, "network", network)
    for judge in (
        lambda: finetune.crossed(joint, solved, settings),
        lambda: finetune.retrained(joint, objects, lessons, settings),
    ):
        seen.clear()
        judged = judge()
        assert len(judged) == settings.parts
        times = len(seen) // settings.parts
        for number, (_, mine) in enumerate(judged):
            taught = set().union(*seen[number * times : (number + 1) * times])
            assert taught
            assert not taught & {case.known.key for case in mine}


def test_every_spectrum_is_taught(
    start: Path, objects: list[Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there are more of them than their share of the mixture asks for."""
    joint = finetune.started(str(start))
    lessons = finetune.Lessons.of(joint, TuneSettings(steps=1, mocks=2, share=0.1))
    given: list[int] = []
    monkeypatch.setattr(
        finetune.training, "tune", lambda model, known, table: given.append(len(known))
    )
    lessons.network(objects)
    assert given == [len(lessons.mocks) + len(objects)]


def test_the_limit_of_distance_never_falls(solved: list[JointCase]) -> None:
    """It rises to what right spectra of the new sample have."""
    calibration = JointCalibration(KNOWN, distance=3.0)
    near, far = (
        [
            dataclasses.replace(
                case, proposed=dataclasses.replace(case.proposed, distance=torch.tensor([value]))
            )
            for case in solved
        ]
        for value in (1.0, 9.0)
    )
    assert finetune.reaching(calibration, [(calibration, near)]).distance == 3.0
    assert finetune.reaching(calibration, [(calibration, far)]).distance == 9.0


def test_the_best_of_three_is_kept(start: Path, objects: list[Known]) -> None:
    """That of least loss on objects that were not seen; the start stays as it was."""
    joint = finetune.started(str(start))
    before = {name: one.clone() for name, one in joint.proposal.network.state_dict().items()}
    joint.calibration = dataclasses.replace(joint.calibration, weights=TIMID)
    settings = TuneSettings(ladder=(1,), steps=2, mocks=8, scatter=1.0)
    figures, chosen, made = finetune.best(joint, objects, settings)
    assert set(figures) == {finetune.SAME, finetune.WEIGHTS, finetune.NETWORK}
    assert figures[chosen].loss == min(one.loss for one in figures.values())
    assert all(one.spectra == len(objects) for one in figures.values())
    assert chosen != finetune.SAME
    assert made.calibration.weights.evidence > 2 * TIMID.evidence
    for name, one in joint.proposal.network.state_dict().items():
        assert torch.equal(one, before[name])


def test_a_network_learns_from_a_mixture(start: Path, objects: list[Known]) -> None:
    """Half of what it sees are the user's spectra, the rest mocks of its own recipe."""
    joint = finetune.started(str(start))
    settings = TuneSettings(steps=2, mocks=60, rate=1e-3)
    lessons = finetune.Lessons.of(joint, settings)
    assert len(lessons.mocks) == 60
    assert lessons.table.train.steps == 2
    model = lessons.network(objects)
    pairs = zip(model.network.parameters(), joint.proposal.network.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)
    assert bool(model.centres.isfinite().any(1).all())  # distances are known for all classes
    again = lessons.network(objects)
    pairs = zip(model.network.parameters(), again.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)  # the recipe's seed decides


def test_command(start: Path, tmp_path: Path) -> None:
    """Labelled files in, a checkpoint out that predicts and says what became of it."""
    given = ["simulate", "--survey", "sdss", "-n", "32", "--seed", "3", "-o", str(tmp_path / "in")]
    assert CliRunner().invoke(build(), given).exit_code == 0
    out = tmp_path / "mine.safetensors"
    changes = ["--set", "finetune.steps=0", "--set", "finetune.ladder=[1]"]
    command = ["train", "zspec", "--init", str(start), "--data", str(tmp_path / "in")]
    told = CliRunner().invoke(build(), [*command, "-o", str(out), *changes])
    assert told.exit_code == 0, told.output
    meta = checkpoint.metadata(out)
    assert f"kept        {meta['finetuned']['kept']}" in told.output
    assert meta["finetuned"]["from"] == finetune.started(str(start)).sha256
    assert set(meta["figures"]["finetuning_loss"]) == {finetune.SAME, finetune.WEIGHTS}
    assert np.isfinite(list(meta["figures"]["finetuning_loss"].values())).all()
    assert Joint.load(out).calibration.distance >= 3.0
    listed = CliRunner().invoke(build(), ["models", str(out)])
    assert listed.exit_code == 0, listed.output
    assert "finetuning loss" in listed.output


def test_what_makes_no_sense_is_said(start: Path, tmp_path: Path) -> None:
    """Too few labels, a checkpoint of another estimator, a recipe that knows no ``init``."""
    settings = {**find_recipe("zspec"), "init": "default"}
    empty = tmp_path / "labels.csv"
    empty.write_text("file,row,z,class\n")
    with pytest.raises(InputError, match="0 objects with class"):
        train(
            {**settings, "finetune": {"manifest": empty.name}}, tmp_path, tmp_path / "a.safetensors"
        )
    with pytest.raises(ConfigError, match="zspec"):
        finetune.started("likelihood")
    foreign = {**find_recipe("slitless-bnn"), "init": "default"}
    with pytest.raises(ConfigError, match="init"):
        train(foreign, tmp_path, tmp_path / "b.safetensors")
    with pytest.raises(ConfigError, match="share"):
        recipe.parse({**settings, "finetune": {"share": 1.5}})
