"""The evaluate command: the numbers of the protocols, on any backend, from any file; what it refuses."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duoreid import cli
from duoreid.backends.torch import export as exporting
from duoreid.benchmarks.measure import inherited
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints.trained import Trained, open_trained
from duoreid.core.commands import evaluate as evaluation
from duoreid.core.commands import evaluate_onnx, feature_files
from duoreid.core.commands import score as features_command
from duoreid.core.contract.state import check_state, initial, network
from duoreid.core.data import Dataset, OpenData, Search, Split, Trial
from duoreid.core.methods.registry import spec_of
from duoreid.core.protocols import evaluate
from duoreid.core.serving import description, engines
from duoreid.core.settings.config import DataConfig, LearnerConfig, NetworkConfig, as_dict
from duoreid.core.settings.cross_modal import MVDRecipe
from duoreid.core.settings.presets import presets
from duoreid.core.settings.transfer import MMTRecipe, TransferDataConfig
from duoreid.datasets import open_dataset
from tests.conftest import probe_of
from tests.datasets import trees

HEIGHT, WIDTH, CLASSES = 64, 32, 6
CONFIG = MMTRecipe(
    data=replace(TransferDataConfig(), source="market1501", target="dukemtmc", height=HEIGHT, width=WIDTH),
    network=NetworkConfig(arch="tiny"),
)


def learner_config(method: str) -> LearnerConfig:
    return spec_of(method).learner_config(CONFIG.network, CLASSES, CLASSES, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A checkpoint of an adaptation and its state: networks with weights of their own."""
    state = initial(learner_config("mmt"), 3)
    numbers = np.random.default_rng(0)
    for role in ("student1", "student2", "teacher1", "teacher2"):
        name = f"{role}.neck.running_mean"
        state[name] = numbers.standard_normal(state[name].shape).astype(np.float32)
    path = tmp_path_factory.mktemp("saved") / "last.safetensors"
    checkpoint.save(path, state, {"config": as_dict(CONFIG), "stage": 2, "epoch": 1})
    return path, state


def opened(name: str = "dukemtmc", *, ignore: str = "same-camera", trials: int = 1, trial: int = 0) -> OpenData:
    """Eight people before three cameras; images of one person share a tint, beside one of each image's own."""
    numbers = np.random.default_rng(1)
    identities = np.repeat(np.arange(8, dtype=np.int32), 3)
    cameras = np.tile(np.array([1, 2, 3], np.int32), 8)
    tints = numbers.integers(0, 70, (8, 1, 1, 3))[identities] + numbers.integers(0, 70, (24, 1, 1, 3))
    images = (tints + numbers.integers(0, 56, (24, HEIGHT, WIDTH, 3))).astype(np.uint8)
    rows = np.arange(24)
    draws = tuple(
        Trial(rows[cameras == 1 + index], np.flatnonzero(cameras != 1 + index if ignore == "nothing" else cameras))
        for index in range(trials)
    )
    searches = (Search("test", draws, ignore, official=trials == 1),) if trials else ()
    split = Split(tuple(f"{row}.jpg" for row in rows), identities, cameras, np.zeros(24, np.uint8))
    return OpenData(Dataset(name, "/data", split, split, searches, trial), images, images)


def run(argv: list, data: OpenData, backend: str = "torch") -> int:
    """Run the command with a dataset that lies in memory."""
    module = importlib.import_module(f"duoreid.backends.{backend}.entry")
    return evaluation.evaluate(module.BACKEND, lambda name, config, trial: data, [str(word) for word in argv])


def expected(state: dict[str, np.ndarray], role: str, data: OpenData) -> list:
    outputs = probe_of("torch").forward(CONFIG.network, network(state, role), data.test, train=False)
    return evaluate(outputs["embedding"], data.dataset)


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


# -- saved features -------------------------------------------------------------------------------------------


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


# -- exported graphs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph(saved, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first teacher, exported for onnxruntime."""
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("graph") / "teacher1.onnx"
    assert exporting.main([str(saved[0]), "--format", "onnx", "--output", str(path)]) == 0
    return path


def run_graph(argv: list, data: OpenData) -> int:
    return evaluate_onnx.main(lambda name, config, trial: data, [str(word) for word in argv])


def test_a_graph_has_the_table_of_its_checkpoint(saved, graph, tmp_path, capsys):
    data, tables = opened(trials=2), []
    for test, path in ((run, saved[0]), (run_graph, graph)):
        capsys.readouterr()
        words = [path, "--dataset", "dukemtmc", "--device", "cpu", "--batch", 7, "--json"]
        assert test([*words, *(["--network", "teacher1"] if test is run else [])], data) == 0
        tables.append(json.loads(capsys.readouterr().out))
    ours, theirs = (one["results"][0] for one in tables)
    assert theirs["network"] == ours["network"] == "teacher1"
    for name, value in ours["mean"].items():
        np.testing.assert_allclose(theirs["mean"][name], value, atol=1e-6, err_msg=name)
    assert tables[1]["images"] == [HEIGHT, WIDTH]
    assert tables[1]["on"].startswith("onnxruntime")
    assert run_graph([graph, "--dataset", "dukemtmc", "--rerank", "--save-features", tmp_path / "f.npz"], data) == 0
    assert re.search(r"teacher1 +test +2 +\d", capsys.readouterr().out)
    with np.load(tmp_path / "f-test-1.npz") as file:
        assert file["query"].shape[1] == 256


def test_a_graph_needs_no_framework(graph, tmp_path):
    """Not even to be imported, in a process of its own that has neither."""
    root = trees.TREES["market1501"](tmp_path / "market1501")
    words = ["evaluate", str(graph), "--dataset", f"market1501={root}", "--no-cache"]
    without = "import sys; sys.modules.update(torch=None, mindspore=None); from duoreid import cli"
    code = f"{without}; sys.exit(cli.main({words}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=inherited())
    assert done.returncode == 0, done.stderr
    assert "on market1501, images 64x32 · onnxruntime" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "does not say what it was trained for: give --dataset"),
        (["--dataset", "dukemtmc", "--batch", 0], "--batch must be at least 1"),
        (["--dataset", "dukemtmc", "--height", 128, "--arch", "tiny"], "says what --arch, --height would"),
        (["--dataset", "dukemtmc", "--device", "cuda"], "this onnxruntime has"),
        (["--dataset", "dukemtmc", "--device", "gpu"], "invalid choice"),
        (["--dataset", "dukemtmc", "--threads", -1], "threads must be at least 0"),
    ],
)
def test_what_a_graph_answers_itself_or_cannot_do_is_refused(graph, words, message, capsys):
    assert run_graph([graph, *words], opened()) == 2
    assert message in capsys.readouterr().err


def test_a_graph_that_does_not_say_its_split_needs_one(graph, capsys):
    data = opened("regdb", ignore="nothing", trial=4)
    assert run_graph([graph, "--dataset", "regdb"], data) == 2
    assert "give --trial, or export it again" in capsys.readouterr().err
    assert run_graph([graph, "--dataset", "regdb", "--trial", 4], data) == 0
    known = description.from_texts(description.as_texts(replace(engines.OnnxEngine(graph).description, trial=4)), "x")
    assert known.trial == 4


def test_a_graph_of_another_program_or_for_a_backend_is_refused(graph, tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    made = onnx.load(str(graph))
    del made.metadata_props[:]
    onnx.save(made, str(tmp_path / "bare.onnx"))
    assert run_graph([tmp_path / "bare.onnx", "--dataset", "dukemtmc"], opened()) == 2
    assert "does not say how its images are prepared" in capsys.readouterr().err
    assert run_graph([tmp_path / "absent.onnx", "--dataset", "dukemtmc"], opened()) == 2
    assert "is not there" in capsys.readouterr().err
    assert run([graph], opened()) == 2
    assert f"duoreid evaluate {graph}" in capsys.readouterr().err
    assert cli.main(["evaluate", str(graph), "--backend", "torch"]) == 2
    assert "leave --backend torch out" in capsys.readouterr().err
