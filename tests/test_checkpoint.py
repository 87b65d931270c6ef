from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from zspec import ConfigError, checkpoint, training


def test_tensors_and_metadata_are_read_back(tmp_path):
    path = tmp_path / "m.safetensors"
    checkpoint.save(path, {"a": torch.arange(6).reshape(2, 3).T}, {"estimator": "x", "seed": 3})
    tensors, meta = checkpoint.load(path)
    assert torch.equal(tensors["a"], torch.arange(6).reshape(2, 3).T)
    assert meta["estimator"] == "x"
    assert meta["format"] == checkpoint.FORMAT
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_file_written_over_changes_nothing_that_is_loaded(tmp_path):
    path, other = tmp_path / "m.safetensors", tmp_path / "n.safetensors"
    checkpoint.save(path, {"a": torch.zeros(5000)}, {"estimator": "x"})
    checkpoint.save(other, {"a": torch.ones(5000)}, {"estimator": "x"})
    tensors, _ = checkpoint.load(path)
    path.write_bytes(other.read_bytes())  # the same file in place, as `cp` does it
    assert torch.equal(tensors["a"], torch.zeros(5000))


def test_what_is_no_checkpoint_is_one_line(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(ConfigError, match="no such checkpoint"):
        checkpoint.load(path)
    path.write_bytes(b"\x80\x04cos\nsystem\n")  # a pickle is not looked into
    with pytest.raises(ConfigError, match="is no safetensors file"):
        checkpoint.load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ConfigError, match="is no checkpoint of zspec"):
        checkpoint.load(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"zspec": "{"})
    with pytest.raises(ConfigError, match="metadata are damaged"):
        checkpoint.load(path)


def test_versions(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    newer = {"format": checkpoint.FORMAT + 1, "zspec": "9.9"}
    save_file({"a": torch.zeros(1)}, path, metadata={"zspec": json.dumps(newer)})
    with pytest.raises(ConfigError, match=r"zspec 9\.9 or newer is needed"):
        checkpoint.metadata(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"zspec": json.dumps({"format": 0})})
    with pytest.raises(ConfigError, match="format 0 is unknown"):
        checkpoint.metadata(path)
    monkeypatch.setitem(checkpoint.UPGRADES, 0, lambda meta: meta | {"upgraded": True})
    save_file({"a": torch.zeros(1)}, path, metadata={"zspec": json.dumps({"format": 0})})
    assert checkpoint.metadata(path)["upgraded"]


def test_every_shipped_checkpoint_loads():
    for path in checkpoint.shipped().values():
        meta = checkpoint.metadata(path)
        assert ("estimator" in meta) != ("holds" in meta)
        assert "holds" in meta or meta["classes"]
        assert path.stat().st_size < 20e6


def test_what_is_no_model_is_not_offered_as_one():
    assert set(checkpoint.shipped()) - set(checkpoint.models()) == {"sources"}
    with pytest.raises(ConfigError, match="is no model, it holds sources"):
        checkpoint.load_estimator(str(checkpoint.shipped()["sources"]))
    with pytest.raises(ConfigError, match="unknown model 'sources'"):
        checkpoint.find("sources")


def test_an_unknown_model_or_recipe_gets_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'likelihood'"):
        checkpoint.find("likelyhood")
    with pytest.raises(ConfigError, match="did you mean 'likelihood'"):
        training.find_recipe("likelihod")
    (tmp_path / "r.toml").write_text("a = ")
    with pytest.raises(ConfigError, match="is no TOML"):
        training.find_recipe(str(tmp_path / "r.toml"))
    (tmp_path / "r.toml").write_text("a = 1")
    with pytest.raises(ConfigError, match="'estimator' is missing"):
        training.find_recipe(str(tmp_path / "r.toml"))
