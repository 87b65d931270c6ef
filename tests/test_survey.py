from __future__ import annotations

import numpy as np
import pytest

from zspec import Arm, ConfigError, Spectra, Truth, hash_id
from zspec.survey import ZEROS, make_options, option_help


def spectra(n=5):
    arm = Arm("B", np.arange(4000.0, 4010), np.arange(10.0) + np.ones((n, 1)), np.ones((n, 10)))
    return Spectra(
        (arm,),
        np.arange(n),
        np.arange(n, dtype=np.int32),
        {"RA": np.arange(n) * 1.0},
        Truth(np.full(n, "STAR"), np.zeros(n)),
        np.zeros(n, np.int64),
        np.ones(n, np.float32),
    )


def test_pieces_make_the_whole():
    whole = spectra()
    pieces = list(whole.split(2))
    assert [len(p) for p in pieces] == [2, 2, 1]
    assert np.concatenate([p.ids for p in pieces]).tolist() == whole.ids.tolist()
    assert np.concatenate([p.table["RA"] for p in pieces]).tolist() == [0, 1, 2, 3, 4]
    assert np.concatenate([p.arms[0].flux for p in pieces]).shape == (5, 10)
    assert pieces[-1].truth.spectype.tolist() == ["STAR"]


def test_a_run_of_exact_zeros_was_not_measured():
    wave, flux = np.arange(4000.0, 4100), np.ones((4, 100))
    flux[1, 10 : 10 + ZEROS] = 0
    flux[2, 10 : 9 + ZEROS] = 0
    flux[3] = 0
    arm = Arm("B", wave, flux, np.ones((4, 100)))
    assert (~arm.usable).sum(axis=1).tolist() == [0, ZEROS, 0, 100]
    assert not arm.usable[1, 10 : 10 + ZEROS].any()
    assert np.array_equal(arm.ivar > 0, arm.usable)
    some = np.ones((4, 100))
    some[:, ::12] = 0  # pixels that are bad anyway do not make a filled gap data
    assert not Arm("B", wave, np.zeros((4, 100)), some).usable.any()
    assert Arm("B", wave[:5], np.zeros((1, 5)), np.ones((1, 5))).usable.all()


@pytest.mark.parametrize("wrong", ["rows", "table", "zwarn", "truth", "arms"])
def test_everything_has_n_rows(wrong):
    good = spectra()
    values = {k: getattr(good, k) for k in ("arms", "ids", "rows", "table", "truth", "zwarn")}
    short = {
        "rows": good.rows[:2],
        "table": {"RA": np.zeros(2)},
        "zwarn": good.zwarn[:2],
        "truth": good.truth[:2],
        "arms": (good.arms[0][:2],),
    }
    with pytest.raises(ValueError, match="5 ids"):
        Spectra(**values | {wrong: short[wrong]})


def test_options_convert_text_and_toml(toy):
    made = make_options(toy, {"gain": "2.5", "bands": "A, B", "strict": "yes"})
    assert (made.gain, made.bands, made.strict) == (2.5, ("A", "B"), True)
    assert make_options(toy, {"bands": ["A"], "strict": False, "gain": 2}).bands == ("A",)
    assert make_options(toy, {}) == toy.Options()
    for wrong in ({"gain": "x"}, {"strict": "perhaps"}, {"bands": 3}):
        with pytest.raises(ConfigError, match="survey toy: option"):
            make_options(toy, wrong)


def test_options_are_documented(toy):
    assert option_help(toy.Options) == {
        "gain": "What flux is multiplied by.",
        "bands": "Bands.",
        "strict": "A switch.",
    }


def test_hashed_ids_are_stable_and_positive():
    assert hash_id("some/folder/a.fits", 3) == hash_id("a.fits", 3) == 752031139360800520
    assert len({hash_id("a.fits", row) for row in range(1000)}) == 1000
    assert all(0 <= hash_id("a.fits", row) < 2**63 for row in range(1000))
