"""Exported networks: run by the programs that users run, beside the network they came from."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints import formats
from duoreid.core.checkpoints.trained import open_trained
from duoreid.core.commands import export as exporting
from duoreid.core.commands.export import Format, normalised, pictures
from duoreid.core.contract.state import initial, network
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.backbones import BACKBONES
from duoreid.core.networks.backbones.resnet import ResNet
from duoreid.core.settings.config import NetworkConfig, as_dict
from duoreid.core.settings.cross_modal import CrossModalDataConfig, MVDConfig, MVDRecipe
from duoreid.library import load
from tests.conftest import probe_of
from tests.runs import SMALL, options_of, small_data, train

HEIGHT, WIDTH = 48, 24
NETWORKS = {
    "basic": NetworkConfig(arch="small", stem_relu=False),
    "ibn": NetworkConfig(arch="small-ibn"),
    "gem": NetworkConfig(arch="small", stem_relu=False, pooling="gem"),
}


@pytest.fixture(autouse=True)
def small_architectures(monkeypatch):
    """A basic and an IBN-Net-a backbone of a few thousand weights."""
    monkeypatch.setitem(BACKBONES, "small", ResNet("basic", (1,) * 4, (8, 12, 16, 24), stem=8))
    ibn = ResNet("bottleneck", (1,) * 4, (8, 8, 12, 16), ibn=True, stem=8)
    monkeypatch.setitem(BACKBONES, "small-ibn", ibn)


def saved(folder: Path, kind: str = "basic", method: str = "mmt") -> tuple[Path, dict[str, np.ndarray]]:
    """A checkpoint with random statistics in every norm."""
    settings = spec_of(method).learner_config(NETWORKS[kind], 5, 5, HEIGHT, WIDTH)
    state, numbers = initial(settings, 0), np.random.default_rng(0)
    for name, value in state.items():
        if not name.startswith("adam") and value.ndim == 1 and not name.endswith("neck.bias"):
            state[name] = numbers.uniform(0.5, 1.5, value.shape).astype(np.float32)
        if name.endswith("pooling.exponent"):
            state[name] = numbers.uniform(2, 4, value.shape).astype(np.float32)
    recipe = spec_of(method).recipe()
    config = replace(recipe, data=replace(recipe.data, height=HEIGHT, width=WIDTH), network=NETWORKS[kind])
    path = folder / "last.safetensors"
    checkpoint.save(path, state, {"config": as_dict(config), "stage": 2})
    return path, state


def run(backend: str, *words: object) -> int:
    """Run the command of a backend."""
    module = importlib.import_module(f"duoreid.backends.{backend}.export")
    return exporting.export(module.BACKEND, module.PROGRAMS, module.load, [str(word) for word in words])


def features(kind: str, tensors: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    return probe_of("torch").forward(NETWORKS[kind], tensors, images, train=False)["embedding"]


def test_the_exponent_of_gem_decides_over_its_features(tmp_path):
    """So that an export which left it at a constant, or pooled by the mean, would be seen."""
    _, state = saved(tmp_path, "gem")
    tensors, images = network(state, "teacher2"), pictures(3, HEIGHT, WIDTH)
    other = tensors | {"pooling.exponent": np.float32([1.0])}
    assert np.abs(features("gem", tensors, images) - features("gem", other, images)).max() > 1e-2


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("given", ["uint8", "normalised"])
def test_onnx(tmp_path, capsys, kind, given):
    onnxruntime = pytest.importorskip("onnxruntime")
    path, state = saved(tmp_path, kind)
    output = tmp_path / "out" / "network.onnx"
    words = ["--network", "teacher2", "--format", "onnx", "--input", given, "--output", output]
    assert run("torch", path, *words) == 0
    shown = capsys.readouterr().out
    assert "largest difference from the original" in shown
    assert str(output) in shown
    session = onnxruntime.InferenceSession(str(output), providers=["CPUExecutionProvider"])
    images = pictures(7, HEIGHT, WIDTH)
    (embeddings,) = session.run(None, {"images": images if given == "uint8" else normalised(images)})
    np.testing.assert_allclose(embeddings, features(kind, network(state, "teacher2"), images), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert [file.name for file in output.parent.iterdir()] == ["network.onnx"]


def test_torch_program(tmp_path):
    torch = pytest.importorskip("torch")
    path, state = saved(tmp_path, "ibn")
    assert run("torch", path, "--network", "student1", "--format", "torch", "--output", tmp_path / "network.pt2") == 0
    program = torch.export.load(tmp_path / "network.pt2").module()
    for count in (1, 7):
        images = pictures(count, HEIGHT, WIDTH)
        embeddings = program(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(embeddings, features("ibn", network(state, "student1"), images), atol=1e-5)


@pytest.mark.parametrize(("kind", "given"), [("gem", "uint8"), ("ibn", "normalised")])
def test_mindir(tmp_path, elsewhere, kind, given):
    path, state = saved(tmp_path, kind)
    output = tmp_path / "network.mindir"
    words = ["--network", "teacher2", "--format", "mindir", "--input", given, "--output", output]
    assert run("mindspore", path, *words) == 0
    import mindspore as ms

    program = ms.nn.GraphCell(ms.load(str(output)))
    images = pictures(3, HEIGHT, WIDTH)
    embeddings = program(ms.Tensor(images if given == "uint8" else normalised(images))).asnumpy()
    np.testing.assert_allclose(embeddings, features(kind, network(state, "teacher2"), images), atol=1e-4)


def test_ckpt_has_the_names_that_mindspore_uses(tmp_path, elsewhere):
    path, state = saved(tmp_path, "ibn")
    output = tmp_path / "network.ckpt"
    assert run("mindspore", path, "--network", "teacher1", "--format", "ckpt", "--output", output) == 0
    import mindspore as ms

    parameters = ms.load_checkpoint(str(output), crc_check=True)
    tensors = network(state, "teacher1")
    assert len(parameters) == len(tensors)
    for theirs, ours in {
        "bn1.gamma": "bn1.weight",
        "layer1.0.bn1.IN.beta": "layer1.0.bn1.IN.bias",
        "layer2.0.downsample.1.moving_variance": "layer2.0.downsample.1.running_var",
        "neck.moving_mean": "neck.running_mean",
        "conv1.weight": "conv1.weight",
        "classifier.weight": "classifier.weight",
    }.items():
        np.testing.assert_array_equal(parameters[theirs].asnumpy(), tensors[ours])


def test_a_run_s_folder_is_exported_by_its_last_state(tmp_path, capsys):
    path, state = saved(tmp_path)
    path = path.rename(tmp_path / "last.safetensors")
    (tmp_path / "config.json").write_text("{}")
    output = tmp_path / "network.npz"
    assert run("torch", tmp_path, "--network", "teacher1", "--format", "npz", "--output", output) == 0
    assert f"teacher1 of {path} -> {output}" in capsys.readouterr().out
    np.testing.assert_array_equal(formats.read(output).tensors["conv1.weight"], state["teacher1.conv1.weight"])


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_files_of_tensors_are_read_back_whole(tmp_path, capsys, suffix):
    path, state = saved(tmp_path)
    output = tmp_path / f"network.{suffix}"
    assert run("torch", path, "--network", "teacher1", "--format", suffix, "--output", output) == 0
    assert "0.0e+00" in capsys.readouterr().out
    loaded = formats.read(output).tensors
    tensors = network(state, "teacher1")
    assert loaded.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(loaded[name], value)
    if suffix == "safetensors":
        again = open_trained(output)
        assert list(again.models) == ["teacher1"]
        assert again.adapted
        assert again.config.data.height == HEIGHT


def test_a_training_starts_from_an_exported_network(tmp_path, capsys):
    """--weights, with a rate so small that the weights stay where they began."""
    tiny = spec_of("source").learner_config(NetworkConfig(arch="tiny"), 3, 3, 32, 16)
    tensors = network(initial(tiny, 7), "student")
    np.savez(tmp_path / "w.npz", **tensors)
    words = [
        "source",
        *options_of("source", SMALL),
        "--data",
        small_data(),
        "--output",
        tmp_path / "run",
        "--weights",
        tmp_path / "w.npz",
    ]
    words += ["--pretrain-rate", "1e-12", "--device", "cpu"]
    assert train("torch", *map(str, words)) == 0
    assert "64 tensors matched" in capsys.readouterr().out
    state, _ = checkpoint.load(tmp_path / "run" / "stage1-1.safetensors")
    for name in ("conv1.weight", "layer4.0.conv2.weight", "neck.weight"):
        np.testing.assert_allclose(state[f"student.{name}"], tensors[name], atol=1e-6)
    assert len(state["student.classifier.weight"]) != 3


# -- the joint feature of MVD -----------------------------------------------------------------------------------


def saved_mvd(folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A checkpoint of MVD with channel attention -> (path, images, their features by the torch learner)."""
    mvd = MVDConfig(representation=12, channel_attention=True)
    settings = spec_of("mvd").learner_config(NETWORKS["basic"], 5, 5, HEIGHT, WIDTH, section=mvd)
    state, numbers = initial(settings, 0), np.random.default_rng(0)
    for name, value in state.items():
        if not name.startswith("adam") and value.ndim == 1 and not name.endswith("neck.bias"):
            state[name] = numbers.uniform(0.5, 1.5, value.shape).astype(np.float32)
    data = CrossModalDataConfig(height=HEIGHT, width=WIDTH, trials=(3,))
    config = MVDRecipe(data=data, network=NETWORKS["basic"], mvd=mvd)
    path = folder / "mvd.safetensors"
    checkpoint.save(path, state, {"config": as_dict(config), "trial": 3})
    learner, images = probe_of("torch").make_learner(settings), pictures(7, HEIGHT, WIDTH)
    learner.import_state(state)
    return path, images, learner.embed([images])[0]


def run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"images": images})[0]


def run_torch(path: Path, images: np.ndarray) -> np.ndarray:
    torch = pytest.importorskip("torch")
    return torch.export.load(path).module()(torch.from_numpy(images)).numpy()


def run_mindir(path: Path, images: np.ndarray) -> np.ndarray:
    import mindspore as ms

    return ms.nn.GraphCell(ms.load(str(path)))(ms.Tensor(images)).asnumpy()


@pytest.mark.long
@pytest.mark.parametrize(
    ("backend", "format", "suffix", "given", "program"),
    [
        ("torch", "onnx", "onnx", "uint8", run_onnx),
        ("torch", "onnx", "onnx", "normalised", run_onnx),
        ("torch", "torch", "pt2", "uint8", run_torch),
        ("mindspore", "mindir", "mindir", "uint8", run_mindir),
    ],
)
def test_a_program_of_mvd_returns_the_feature_of_all_branches(
    tmp_path, elsewhere, backend, format, suffix, given, program
):
    path, images, expected = saved_mvd(tmp_path)
    assert expected.shape == (7, 4 * 24)
    output = tmp_path / f"network.{suffix}"
    assert run(backend, path, "--format", format, "--input", given, "--output", output) == 0
    for count in (1, 7):
        batch = images[:count] if given == "uint8" else normalised(images[:count])
        np.testing.assert_allclose(program(output, batch), expected[:count], atol=1e-5)


@pytest.mark.parametrize(
    ("backend", "suffix"), [("torch", "safetensors"), ("torch", "npz"), ("mindspore", "ckpt"), ("mindspore", "npz")]
)
def test_files_of_mvd_s_tensors_are_read_back_whole(tmp_path, elsewhere, backend, suffix):
    path, images, expected = saved_mvd(tmp_path)
    output = tmp_path / f"network.{suffix}"
    assert run(backend, path, "--format", suffix, "--output", output) == 0
    arch = "" if suffix == "safetensors" else "small"
    again = open_trained(output, arch=arch, stem_relu=None if suffix == "safetensors" else False)
    assert list(again.models) == ["mvd"]
    assert again.trial == (3 if suffix == "safetensors" else 0)
    learner = probe_of("torch").make_learner(again.models["mvd"].config)
    learner.import_state(again.models["mvd"].state)
    np.testing.assert_array_equal(learner.embed([images])[0], expected)


def test_a_file_of_mvd_without_a_tensor_is_refused(tmp_path, capsys):
    path, _, _ = saved_mvd(tmp_path)
    assert run("torch", path, "--format", "npz", "--output", tmp_path / "whole.npz") == 0
    tensors = dict(np.load(tmp_path / "whole.npz"))
    del tensors["infrared.layer1.0.conv1.weight"]
    np.savez(tmp_path / "part.npz", **tensors)
    words = [tmp_path / "part.npz", "--arch", "small", "--no-stem-relu", "--height", "48", "--width", "24"]
    assert run("torch", *words, "--format", "npz", "--output", tmp_path / "again.npz") == 2
    assert "missing: infrared.layer1.0.conv1.weight" in capsys.readouterr().err
    assert run("torch", path, "--network", "shared", "--format", "npz", "--output", tmp_path / "again.npz") == 2
    assert "leave --network shared out" in capsys.readouterr().err


def test_without_a_name_it_is_the_network_that_load_gives(tmp_path, capsys):
    pytest.importorskip("torch")
    path, _ = saved(tmp_path)
    output = tmp_path / "network.safetensors"
    assert run("torch", path, "--format", "safetensors", "--output", output) == 0
    assert "teacher1" in (told := capsys.readouterr().out)
    assert "the first of teacher1, teacher2 (--network chooses)" in told
    assert load(path).digest == load(output).digest != load(path, network="teacher2").digest
    with pytest.raises(ValueError, match="one is needed: name it, not all"):
        load(path, network="all")


# -- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--network", "all", "--format", "npz", "--output", "x.npz"], "one is needed: name it, not all"),
        (["--network", "teacher1", "--format", "npz", "--output", "x.onnx"], "must end in .npz"),
        (
            ["--network", "teacher1", "--format", "npz", "--input", "uint8", "--output", "x.npz"],
            "--input has no meaning",
        ),
        (["--network", "teacher1", "--format", "mindir", "--output", "x.mindir"], "invalid choice"),
        (["--network", "teacher1", "--format", "npz", "--height", "8", "--output", "x.npz"], "at least 16 pixels"),
        (["--format", "npz"], "--output"),
    ],
)
def test_mistakes_are_named(tmp_path, capsys, monkeypatch, words, message):
    path, _ = saved(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run("torch", path, *words) == 2
    assert message in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["last.safetensors"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path, capsys):
    path, _ = saved(tmp_path, method="source")
    (tmp_path / "file").write_text("")
    assert run("torch", path, "--format", "npz", "--output", tmp_path / "file" / "x.npz") == 2
    assert "could not be written" in capsys.readouterr().err


def test_onnx_without_its_packages_says_what_to_install(tmp_path, capsys, monkeypatch):
    path, _ = saved(tmp_path, method="source")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run("torch", path, "--format", "onnx", "--output", tmp_path / "x.onnx") == 2
    error = capsys.readouterr().err
    assert "onnxruntime" in error
    assert "duoreid[export]" in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows + 2e-4, "differs by 2.0e-04 from the original"),
        (lambda rows: rows * np.nan, "expected finite"),
        (lambda rows: rows[:, :-1], "expected finite"),
    ],
)
def test_an_export_that_differs_is_not_kept(tmp_path, capsys, change, message):
    path, _ = saved(tmp_path, method="source")
    output = tmp_path / "x.onnx"
    output.write_text("an earlier export")
    module = importlib.import_module("duoreid.backends.torch.export")
    sound = module.load("onnx")
    broken = Format(sound.suffix, sound.write, lambda path, images: change(sound.run(path, images)))
    words = [str(path), "--format", "onnx", "--output", str(output)]
    assert exporting.export(module.BACKEND, module.PROGRAMS, lambda name: broken, words) == 2
    assert message in capsys.readouterr().err
    assert output.read_text() == "an earlier export"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.safetensors", "x.onnx"]
