"""Features that the evaluate command saves: of each network and draw, with what scores them elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from duoreid.core.commands import feature_files
from duoreid.core.commands import score as features_command
from duoreid.core.data import Split
from duoreid.core.protocols import evaluate
from duoreid.datasets import open_dataset
from tests.datasets import trees
from tests.evaluated import expected, opened, run


@pytest.mark.parametrize("ignore", ["same-camera", "nothing"])
def test_saved_features_give_the_same_scores_elsewhere(saved, tmp_path, capsys, ignore):
    path, state = saved
    data = opened(ignore=ignore)
    assert run([path, "--network", "teacher1", "--save-features", tmp_path / "f.npz"], data) == 0
    capsys.readouterr()
    assert features_command.main([str(tmp_path / "f.npz"), "--json"]) == 0
    (right,) = expected(state, "teacher1", data)
    assert json.loads(capsys.readouterr().out)["mAP"] == pytest.approx(right.mean.mean_ap, abs=1e-9)


SCORES = {"mAP": "mean_ap", "rank-1": "rank1", "rank-5": "rank5", "rank-10": "rank10", "rank-20": "rank20"} | {
    "mINP": "mean_inp"
}


@pytest.mark.parametrize("options", [[], ["--rerank"]])
@pytest.mark.parametrize("name", ["sysu", "regdb", "market1501"])
def test_saved_draws_carry_the_rule_of_their_search(tmp_path, capsys, name, options):
    """Each draw's file scores as its trial does: cam3 without cam2, distinct identities, nothing ignored."""
    data = open_dataset(name, trees.TREES[name](tmp_path / name))
    features = np.random.default_rng(5).standard_normal((len(data.test), 6)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    feature_files.save(tmp_path / "saved" / "f.npz", "", features, data)
    trials = [trial for result in evaluate(features, data, rerank=bool(options)) for trial in result.trials]
    draws = [(search, index) for search in data.searches for index in range(len(search.trials))]
    for (search, index), right in zip(draws, trials, strict=True):
        label = f"-{search.name.replace(', ', '-').replace(' ', '-')}-{index + 1}" if len(draws) > 1 else ""
        assert features_command.main([str(tmp_path / f"saved/f{label}.npz"), "--json", *options]) == 0
        scores = json.loads(capsys.readouterr().out)
        for shown, field in SCORES.items():
            assert scores[shown] == pytest.approx(getattr(right, field), abs=1e-12), (label, shown)


def test_several_networks_and_draws_go_to_files_of_their_own(saved, tmp_path):
    path, _ = saved
    assert run([path, "--save-features", tmp_path / "f.npz"], opened(trials=2)) == 0
    names = [f"f-{role}-test-{trial}.npz" for role in ("teacher1", "teacher2") for trial in (1, 2)]
    assert sorted(file.name for file in tmp_path.iterdir()) == names


def test_unlabelled_images_have_features_only(saved, tmp_path, capsys):
    path, _ = saved
    data = opened("folder", trials=0)
    assert run([path, "--network", "teacher1"], data) == 2
    assert "--save-features" in capsys.readouterr().err
    assert run([path, "--network", "teacher1", "--save-features", tmp_path / "f"], data) == 0
    with np.load(tmp_path / "f.npz") as file:
        assert file["features"].shape == (24, 256)
        assert file["files"][3] == "3.jpg"
    none = Split((), *(np.zeros(0, kind) for kind in (np.int32, np.int32, np.uint8)))
    heap = replace(data, dataset=replace(data.dataset, test=none), test=data.test[:0])  # as a reader finds them
    assert run([path, "--network", "teacher1", "--save-features", tmp_path / "g"], heap) == 0
    with np.load(tmp_path / "f.npz") as one, np.load(tmp_path / "g.npz") as other:
        np.testing.assert_array_equal(one["features"], other["features"])
        assert one["files"].tolist() == other["files"].tolist()


def test_saved_features_say_which_image_they_are_of(saved, tmp_path):
    path, _ = saved
    data = opened()
    assert run([path, "--network", "teacher1", "--save-features", tmp_path / "f.npz"], data) == 0
    trial = data.dataset.searches[0].trials[0]
    with np.load(tmp_path / "f.npz") as file:
        assert file["query_files"].tolist() == [f"{row}.jpg" for row in trial.query]
        assert file["gallery_files"].tolist() == [f"{row}.jpg" for row in trial.gallery]
