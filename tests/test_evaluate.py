"""The evaluate command: the numbers of the protocols, on any backend, from any file; what it refuses."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints.trained import Trained, open_trained
from duoreid.core.commands import evaluate as evaluation
from duoreid.core.contract.state import check_state, initial, network
from duoreid.core.data import OpenData
from duoreid.core.protocols import evaluate
from duoreid.core.settings.config import DataConfig, as_dict
from duoreid.core.settings.cross_modal import MVDRecipe
from duoreid.core.settings.presets import presets
from tests.conftest import probe_of
from tests.evaluated import CONFIG, HEIGHT, WIDTH, expected, learner_config, opened, run


def test_the_numbers_are_those_of_the_protocols(saved, backend, capsys, elsewhere):
    path, state = saved
    data = opened()
    assert run([path, "--json", "--batch", 7, "--device", "cpu"], data, backend) == 0
    table = json.loads(capsys.readouterr().out)
    assert [result["network"] for result in table["results"]] == ["teacher1", "teacher2"]
    for result in table["results"]:
        (right,) = expected(state, result["network"], data)
        assert result["mean"]["mean_ap"] == pytest.approx(right.mean.mean_ap, abs=1e-9)
        assert result["mean"]["rank1"] == right.mean.rank1
        assert result["official"] is True
    assert table["images"] == [HEIGHT, WIDTH]
    first, second = (result["mean"]["mean_ap"] for result in table["results"])
    assert first != second


def test_the_table_shows_mean_and_spread_over_trials(saved, capsys):
    path, state = saved
    data = opened(trials=3)
    assert run([path, "--network", "student2"], data) == 0
    shown = capsys.readouterr().out
    (right,) = expected(state, "student2", data)
    assert f"{100 * right.mean.mean_ap:.1f} ± {100 * right.spread.mean_ap:.1f}" in shown
    assert right.spread.mean_ap > 0
    assert "made from a seed" in shown


def test_every_network_on_request_and_no_other(saved, capsys):
    path, _ = saved
    assert run([path, "--network", "all", "--json"], opened()) == 0
    networks = [result["network"] for result in json.loads(capsys.readouterr().out)["results"]]
    assert sorted(networks) == ["student1", "student2", "teacher1", "teacher2"]
    assert run([path, "--network", "teachr1"], opened()) == 2
    assert "Did you mean 'teacher1'" in capsys.readouterr().err


def test_a_run_s_folder_stands_for_its_last_state(saved, tmp_path, capsys):
    path = shutil.copy(saved[0], tmp_path)
    assert run([tmp_path], opened()) == 2
    assert "is a folder but no run's" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{}")
    shown = []
    for given in (path, tmp_path):
        assert run([given, "--json"], opened()) == 0
        shown.append(json.loads(capsys.readouterr().out))
    assert shown[0] == shown[1]
    assert run([tmp_path], opened()) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}: its last state, last.safetensors\n{path} on dukemtmc")


def test_re_ranking_changes_the_result(saved, capsys):
    path, _ = saved
    scores = []
    for options in ([], ["--rerank"]):
        assert run([path, "--json", *options], opened()) == 0
        scores.append(json.loads(capsys.readouterr().out)["results"][0]["mean"]["mean_ap"])
    assert scores[0] != scores[1]


# -- published numbers ----------------------------------------------------------------------------------------


def test_published_numbers_stand_beside_the_transfer_they_belong_to():
    config = presets()["mmt-resnet50-market-duke"]
    adapted, before = (Trained(Path("x"), config, {}, adapted=adapted) for adapted in (True, False))
    assert evaluation.published(adapted, "dukemtmc", "test") == {"the paper": (65.1, 78.0)}
    assert evaluation.published(before, "dukemtmc", "test") == {"the paper": (29.6, 46.0)}
    assert evaluation.published(before, "msmt17", "test") == {"the paper": (7.1, 19.4)}
    assert evaluation.published(adapted, "msmt17", "test") == {}, "it was not adapted to MSMT17"
    assert evaluation.published(replace(adapted, known=False), "dukemtmc", "test") == {}


def test_published_numbers_are_in_the_table_and_in_json(saved, capsys, monkeypatch):
    monkeypatch.setattr(evaluation, "published", lambda *given: {"the paper": (65.1, 78.0)})
    assert run([saved[0]], opened()) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith("published, the paper"))
    assert line.split()[-2:] == ["65.1", "78.0"]
    assert run([saved[0], "--json"], opened()) == 0
    published = json.loads(capsys.readouterr().out)["published"]
    assert published == {"test": {"the paper": {"mean_ap": 0.651, "rank1": 0.78}}}


# -- RegDB's trials -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trial", "status"), [(1, 2), (4, 0)])
def test_another_trial_than_the_one_trained_on_is_refused(saved, tmp_path, capsys, trial, status):
    _, state = saved
    config = replace(CONFIG, data=replace(CONFIG.data, source="RegDB", target="RegDB"))
    path = tmp_path / "regdb.safetensors"
    checkpoint.save(path, state, {"config": as_dict(config), "stage": 2, "trial": 4})
    assert run([path, "--dataset", "regdb"], opened("regdb", ignore="nothing", trial=trial)) == status
    if status:
        assert "trained on trial 4 of regdb but would be tested on trial 1" in capsys.readouterr().err


@pytest.mark.parametrize("trial", [0, 7])
def test_a_trial_of_a_dataset_that_has_none_is_refused(saved, capsys, trial):
    assert run([saved[0], "--trial", trial], opened()) == 2
    assert f"dukemtmc has one training split: leave --trial {trial} out" in capsys.readouterr().err


def test_the_trial_of_the_training_is_what_is_opened(saved, tmp_path):
    _, state = saved
    path = tmp_path / "regdb.safetensors"
    checkpoint.save(path, state, {"config": as_dict(CONFIG), "stage": 2, "trial": 4})
    seen = []

    def open_dataset(name: str, config: DataConfig, trial: int) -> OpenData:
        seen.append((name, trial))
        return opened(trial=4)

    module = importlib.import_module("duoreid.backends.torch.entry")
    assert evaluation.evaluate(module.BACKEND, open_dataset, [str(path), "--network", "teacher1"]) == 0
    assert seen == [("dukemtmc", 4)]


# -- files from elsewhere -------------------------------------------------------------------------------------


def reference_file(folder: Path, tensors: dict[str, np.ndarray]) -> Path:
    """Write a network as the reference MMT does, without a ReLU in the stem."""
    torch = pytest.importorskip("torch")
    places = {"conv1": "base.0", "bn1": "base.1", "neck": "feat_bn", "classifier": "classifier"}
    places |= {f"layer{layer}": f"base.{layer + 2}" for layer in range(1, 5)}
    named = {}
    for name, value in tensors.items():
        part, rest = name.split(".", 1)
        named[f"module.{places[part]}.{rest}"] = torch.tensor(value)
    torch.save({"state_dict": named, "epoch": 40, "best_mAP": np.float64(0.7)}, folder / "model_best.pth.tar")
    return folder / "model_best.pth.tar"


def test_a_reference_checkpoint_is_tested_as_it_was_trained(saved, tmp_path, capsys):
    _, state = saved
    path = reference_file(tmp_path, network(state, "teacher1"))
    data = opened()
    size = ["--height", HEIGHT, "--width", WIDTH]
    assert run([path, "--dataset", "dukemtmc", "--arch", "tiny", *size, "--json"], data) == 0
    mean_ap = json.loads(capsys.readouterr().out)["results"][0]["mean"]["mean_ap"]
    without_relu = replace(CONFIG.network, stem_relu=False)
    features = probe_of("torch").forward(without_relu, network(state, "teacher1"), data.test, train=False)["embedding"]
    assert mean_ap == pytest.approx(evaluate(features, data.dataset)[0].mean.mean_ap, abs=1e-9)
    for missing, message in (
        (["--dataset", "dukemtmc", *size], "--arch"),
        (["--dataset", "dukemtmc", "--arch", "tiny"], "--height and --width"),
        (["--arch", "tiny", *size], "--dataset"),
    ):
        assert run([path, *missing], data) == 2
        assert message in capsys.readouterr().err


# -- mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--arch", "resnet50"], "trained with arch tiny"),
        (["--no-stem-relu"], "trained with stem_relu True"),
        (["--batch", "0"], "--batch must be at least 1"),
        (["--height", "8"], "height must be at least 32"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_mistakes_are_named(saved, capsys, options, message):
    assert run([saved[0], *options], opened()) == 2
    assert message in capsys.readouterr().err


def test_the_moment_of_an_interrupted_run_is_tested_like_its_networks(saved, tmp_path):
    _, state = saved
    path = tmp_path / "last.safetensors"
    labels = {"labels": np.zeros(9, np.int32)}
    checkpoint.save(path, {**state, **labels}, {"config": as_dict(CONFIG), "position": {"stage": 2}})
    trained = open_trained(path)
    assert trained.adapted
    assert list(trained.models) == ["teacher1", "teacher2"]


def test_a_run_of_several_networks_with_one_feature_is_one_model(tmp_path):
    """MVD's three networks make one feature together."""
    plain = MVDRecipe()
    config = replace(plain, network=CONFIG.network, mvd=replace(plain.mvd, representation=16))
    settings = replace(learner_config("mvd"), section=config.mvd, optimiser=config.mvd.optimiser)
    path = tmp_path / "last.safetensors"
    state = {**initial(settings, 0), "labels": np.zeros(9, np.int32)}
    checkpoint.save(path, state, {"config": as_dict(config), "trial": 3})
    trained = open_trained(path)
    assert list(trained.models) == ["mvd"]
    assert trained.trial == 3
    config = replace(config, data=replace(config.data, trials=(5, 8)))
    for position, trial in ((0, 5), (1, 8)):
        checkpoint.save(path, state, {"config": as_dict(config), "position": {"stage": 1, "network": position}})
        assert open_trained(path).trial == trial, "of the trial that an interrupted run was at"
    model = trained.models["mvd"]
    check_state(model.state, model.config)
    assert model.tensors().keys() == {name for name in state if name.split(".")[0] in ("visible", "infrared", "shared")}
    with pytest.raises(ValueError, match="leave --network shared out"):
        open_trained(path, "shared")


@pytest.mark.parametrize("changes", [{"config": "x"}, {"position": 3}])
def test_a_checkpoint_of_another_version_is_refused(saved, tmp_path, capsys, changes):
    path = tmp_path / "other.safetensors"
    checkpoint.save(path, saved[1], {"config": as_dict(CONFIG), "stage": 2} | changes)
    assert run([path], opened()) == 2
    assert "another version wrote it" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["evaluate", "export"])
def test_help_imports_no_framework_and_no_data(backend, name):
    code = (
        f"import sys; from duoreid.backends.{backend}.entry import BACKEND\n"
        f"from duoreid.core.commands import {name}\n"
        f"{name}.build(BACKEND{', dict(onnx=str())' if name == 'export' else ''})\n"
        "print(sorted({'torch', 'mindspore', 'scipy', 'duoreid.datasets', 'PIL'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"
