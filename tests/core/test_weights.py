"""Imported weights: every published layout, nothing lost in silence.

The files have the names and shapes of the real ones: those of torchvision, of the reference MMT, of IBN-Net and of the
MindSpore model zoo are built here from their definitions.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints import weights
from duoreid.core.checkpoints.layouts import LAYOUTS
from duoreid.core.contract.state import initial, network
from duoreid.core.errors import UserError
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.network import initial_state, network_tensors
from duoreid.core.settings.config import NetworkConfig


def built(arch: str, **options: bool) -> BackboneConfig:
    return BackboneConfig(NetworkConfig(arch=arch, **options), 64, 32)


TINY, RESNET18, RESNET50, IBN = (built(name) for name in ("tiny", "resnet18", "resnet50", "resnet50_ibn_a"))
CLASSES = 751


def backbone(arch: str = "resnet18", seed: int = 0) -> dict[str, np.ndarray]:
    """Weights with something different from 0 and 1 in every norm."""
    return dict(_drawn(arch, seed))


@cache
def _drawn(arch: str, seed: int) -> dict[str, np.ndarray]:
    state = initial_state(built(arch), 1, seed)
    numbers = np.random.default_rng(seed)
    for name, value in state.items():
        if value.ndim == 1:
            state[name] = numbers.uniform(0.5, 2, value.shape).astype(np.float32)
    return {name: value for name, value in state.items() if not name.startswith(("neck.", "classifier."))}


def norms(names: list[str]) -> list[str]:
    return [name.removesuffix(".running_mean") for name in names if name.endswith(".running_mean")]


def torchvision(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    counters = {f"{norm}.num_batches_tracked": np.int64(5) for norm in norms(list(state))}
    width = max(value.shape[0] for value in state.values())
    return state | counters | {"fc.weight": np.ones((1000, width), np.float32), "fc.bias": np.ones(1000, np.float32)}


def mmt(state: dict[str, np.ndarray], *, relu: bool, classes: int = CLASSES) -> dict[str, np.ndarray]:
    """nn.Sequential(conv1, bn1[, relu], maxpool, layer1..4) as `base`, then feat_bn and classifier."""
    first = 4 if relu else 3
    places = {"conv1": "0", "bn1": "1"} | {f"layer{i + 1}": str(first + i) for i in range(4)}
    named = {}
    for name, value in state.items():
        part, rest = name.split(".", 1)
        named[f"module.base.{places[part]}.{rest}"] = value
    width = max(value.shape[0] for value in state.values())
    for name, value in (("weight", 2), ("bias", 0), ("running_mean", 0.5), ("running_var", 3)):
        named[f"module.feat_bn.{name}"] = np.full(width, value, np.float32)
    named["module.classifier.weight"] = np.full((classes, width), 0.25, np.float32)
    return named | {f"{norm}.num_batches_tracked": np.int64(9) for norm in norms(list(named))}


def zoo(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    renames = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    named = {}
    for name, value in state.items():
        parts = name.replace("downsample", "down_sample_layer").split(".")
        if f"{name.rsplit('.', 1)[0]}.running_mean" in state:
            parts[-1] = renames.get(parts[-1]) or {"weight": "gamma", "bias": "beta"}[parts[-1]]
        named[".".join(parts)] = value
    width = max(value.shape[0] for value in state.values())
    named |= {"end_point.weight": np.ones((1001, width), np.float32), "end_point.bias": np.ones(1001, np.float32)}
    named |= {"moments.conv1.weight": state["conv1.weight"], "moments.end_point.bias": named["end_point.bias"]}
    return named | {"global_step": np.int32(7), "learning_rate": np.float32(0.1), "momentum": np.float32(0.9)}


def write(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    np.savez(path, **tensors)
    return path


def same(loaded: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert loaded.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(loaded[name], value, err_msg=name)
        assert loaded[name].dtype == np.float32


@pytest.mark.parametrize("prefix", ["", "module.", "module.backbone."])
def test_torchvision(tmp_path, prefix):
    state = backbone()
    file = {prefix + name: value for name, value in torchvision(state).items()}
    loaded, report = weights.load(write(tmp_path / "w.npz", file), RESNET18, capacity=CLASSES)
    same(loaded, state)
    assert report.layout.name == "torchvision or timm ResNet"
    assert report.matched == len(state) == 100
    assert sorted(map(len, report.ignored.values())) == [2, 20]
    text = str(report)
    assert "100 tensors matched" in text
    assert "fc.weight" in text
    assert "neck stays as initialised" in text
    assert "classifier stays as initialised" in text


def test_half_precision_becomes_float32(tmp_path):
    state = {name: value.astype(np.float16) for name, value in backbone().items()}
    loaded, _ = weights.load(write(tmp_path / "w.npz", state), RESNET18)
    same(loaded, {name: value.astype(np.float32) for name, value in state.items()})


@pytest.mark.parametrize("relu", [True, False])
def test_reference_mmt(tmp_path, relu):
    state = backbone()
    path = write(tmp_path / "w.npz", mmt(state, relu=relu))
    network_config = built("resnet18", stem_relu=relu)
    loaded, report = weights.load(path, network_config, capacity=CLASSES)
    head = {name for name in loaded if name.startswith(("neck.", "classifier."))}
    assert len(head) == 5
    same({name: value for name, value in loaded.items() if name not in head}, state)
    assert loaded["neck.running_var"][0] == 3
    assert loaded["classifier.weight"].shape == (CLASSES, 512)
    assert report.matched == len(state) + 5
    assert "CAUTION" not in str(report)
    _, report = weights.load(path, built("resnet18", stem_relu=not relu), capacity=CLASSES)
    assert ("--stem-relu" if relu else "--no-stem-relu") in str(report)


def test_another_class_count_keeps_the_backbone_and_says_so(tmp_path):
    path = write(tmp_path / "w.npz", mmt(backbone(), relu=False))
    loaded, report = weights.load(path, RESNET18, capacity=702)
    assert "classifier.weight" not in loaded
    assert "neck.weight" in loaded
    assert report.ignored["another number of classes"] == ("module.classifier.weight",)
    assert "751 classes, this run 702: the classifier stays as initialised" in str(report)


def test_mindspore_zoo(tmp_path):
    state = backbone()
    loaded, report = weights.load(write(tmp_path / "w.npz", zoo(state)), RESNET18)
    same(loaded, state)
    assert report.layout.name == "MindSpore model zoo ResNet"
    assert sum(map(len, report.ignored.values())) == 7


def test_mindcv(tmp_path):
    state = backbone()
    file = {name.replace("_layer", ""): value for name, value in zoo(state).items() if "end_point" not in name}
    file |= {"classifier.weight": np.ones((1000, 512), np.float32), "classifier.bias": np.ones(1000, np.float32)}
    loaded, report = weights.load(write(tmp_path / "w.npz", file), RESNET18)
    same(loaded, state)
    assert report.layout.name == "MindCV ResNet"


@pytest.mark.parametrize(
    ("arch", "rename", "count"),
    [
        ("resnet50", torchvision, 265),
        ("resnet50", zoo, 265),
        ("resnet50", lambda state: mmt(state, relu=False), 269),
        ("resnet50_ibn_a", torchvision, 291),
        ("resnet50_ibn_a", lambda state: mmt(state, relu=True), 295),
    ],
)
def test_every_name_of_the_fifty_layer_networks(arch, rename, count):
    """By name and shape only: a hundred megabytes of numbers would say nothing more."""
    state = {
        entry.name: np.broadcast_to(np.float32(1), entry.shape)
        for entry in network_tensors(built(arch), 1)
        if not entry.name.startswith(("neck.", "classifier."))
    }
    layout, named, _ = weights.recognise(rename(state), Path("file"), arch)
    ignored = [name for name, _ in named if any(re.fullmatch(pattern, name) for pattern, _ in layout.ignored)]
    ours = {weights.canonical(layout, name, dict(named)) for name, _ in named if name not in ignored} - {
        "classifier.weight"
    }
    assert len(ours) == count
    assert {name for name in ours if not name.startswith("neck.")} == state.keys()
    if arch.endswith("ibn_a"):
        assert "layer1.0.bn1.IN.weight" in ours
        assert "layer4.0.bn1.weight" in ours


def test_the_published_names(tmp_path):
    """Names as they stand in the published files, written out: the builders above cannot be wrong with the code."""
    written = {
        "module.base.1.running_var": "bn1.running_var",
        "module.base.3.0.downsample.0.weight": "layer1.0.downsample.0.weight",
        "module.base.6.2.bn3.bias": "layer4.2.bn3.bias",
        "module.feat_bn.running_mean": "neck.running_mean",
    }
    named = mmt({e.name: np.broadcast_to(np.float32(1), e.shape) for e in backbone_entries("resnet50")}, relu=False)
    layout, _, _ = weights.recognise(named, Path("file"), "resnet50")
    for theirs, ours in written.items():
        assert theirs in named
        assert weights.canonical(layout, theirs.removeprefix("module."), ()) == ours
    layout = next(layout for layout in LAYOUTS["resnet"] if "zoo" in layout.name)
    for theirs, ours in {
        "bn1.gamma": "bn1.weight",
        "bn1.moving_variance": "bn1.running_var",
        "layer2.0.down_sample_layer.0.weight": "layer2.0.downsample.0.weight",
        "layer2.0.down_sample_layer.1.beta": "layer2.0.downsample.1.bias",
        "layer4.2.bn3.moving_mean": "layer4.2.bn3.running_mean",
    }.items():
        assert weights.canonical(layout, theirs, ("bn1.beta",)) == ours


def backbone_entries(arch: str) -> list:
    return [e for e in network_tensors(built(arch), 1) if not e.name.startswith(("neck.", "classifier."))]


# -- our own checkpoints --------------------------------------------------------------------------------------


def own(tmp_path: Path, method: str) -> tuple[Path, dict[str, np.ndarray]]:
    config = spec_of(method).learner_config(NetworkConfig(arch="tiny"), 7, 7, 64, 32)
    state = initial(config, 3)
    checkpoint.save(tmp_path / "own.safetensors", state, {})
    return tmp_path / "own.safetensors", state


def test_a_network_of_our_checkpoint_by_role(tmp_path):
    path, state = own(tmp_path, "mmt")
    loaded, report = weights.load(f"{path}#teacher2", TINY, capacity=7)
    same(loaded, network(state, "teacher2"))
    assert len(report.ignored["other networks, optimiser"]) == len(state) - len(loaded)


def test_a_path_with_a_number_sign_is_a_path(tmp_path):
    folder = tmp_path / "run #2"
    folder.mkdir()
    path, state = own(folder, "mmt")
    loaded, _ = weights.load(f"{path}#teacher1", TINY)
    same(loaded, network(state, "teacher1"))
    single = path.rename(folder / "a#b.safetensors")
    with pytest.raises(UserError, match="holds the networks"):
        weights.load(single, TINY)
    with pytest.raises(UserError, match="No such file"):
        weights.load(folder / "none.pth", TINY)


def test_our_checkpoint_of_several_networks_asks_which(tmp_path):
    path, _ = own(tmp_path, "mmt")
    with pytest.raises(UserError, match=r"student1, student2, teacher1, teacher2.*#teacher2"):
        weights.load(path, TINY)
    with pytest.raises(UserError, match="Did you mean 'teacher1'"):
        weights.load(f"{path}#teachr1", TINY)


def test_our_checkpoint_of_one_network_needs_no_role(tmp_path):
    path, state = own(tmp_path, "source")
    loaded, _ = weights.load(path, TINY)
    same(loaded, network(state, "student"))


def test_a_role_of_a_file_without_roles_is_refused(tmp_path):
    path = write(tmp_path / "w.npz", backbone())
    with pytest.raises(UserError, match="no roles"):
        weights.load(f"{path}#teacher1", RESNET18)


# -- nothing is taken by halves -------------------------------------------------------------------------------


def broken(change: str) -> dict[str, np.ndarray]:
    state = torchvision(backbone())
    if change == "missing":
        del state["layer3.1.bn2.running_var"]
    elif change == "unexpected":
        state["layer3.2.conv1.weight"] = np.ones((2, 2), np.float32)
    elif change == "shape":
        state["layer3.1.bn2.weight"] = np.ones(255, np.float32)
    elif change == "not finite":
        state["layer3.1.bn2.weight"] = np.append(np.ones(255, np.float32), np.float32("nan"))
    elif change == "type":
        state["layer3.1.bn2.weight"] = np.ones(256, np.int32)
    return state


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape", "not finite", "type"])
def test_what_does_not_fit_is_listed(tmp_path, change):
    with pytest.raises(UserError, match=rf"none was taken[^:]*:\n  {change}: layer3"):
        weights.load(write(tmp_path / "w.npz", broken(change)), RESNET18)


def test_half_a_neck_is_an_error(tmp_path):
    state = mmt(backbone(), relu=False)
    del state["module.feat_bn.bias"]
    with pytest.raises(UserError, match=r"missing: neck\.bias"):
        weights.load(write(tmp_path / "w.npz", state), RESNET18, capacity=CLASSES)


def test_an_embedding_layer_that_ours_has_not_is_an_error(tmp_path):
    state = mmt(backbone(), relu=False) | {"module.feat.weight": np.ones((128, 512), np.float32)}
    with pytest.raises(UserError, match=r"holds an embedding layer .*: 1 tensors \(module\.feat\.weight\)"):
        weights.load(write(tmp_path / "w.npz", state), RESNET18, capacity=CLASSES)


def test_one_tensor_under_two_names_is_an_error(tmp_path):
    state = {f"module.{name}": value for name, value in backbone().items()}
    state["bn1.bias"] = state["module.bn1.bias"] + 1
    with pytest.raises(UserError, match=r"bn1\.bias twice"):
        weights.load(write(tmp_path / "w.npz", state), RESNET18)


def test_weights_of_another_architecture_name_the_right_one(tmp_path):
    with pytest.raises(UserError, match=r"do not fit resnet50;[\s\S]*\.\.\. and \d+ more\nThey fit --arch resnet18"):
        weights.load(write(tmp_path / "w.npz", backbone()), RESNET50)


def test_plain_weights_for_an_ibn_network_are_refused(tmp_path):
    state = {name: value for name, value in backbone("resnet18").items()}
    with pytest.raises(UserError, match=r"missing: layer1\.0\.bn1\.IN\.weight"):
        weights.load(write(tmp_path / "w.npz", state), IBN)


@pytest.mark.parametrize("tensors", [{"features.0.weight": np.ones((2, 3), np.float32)}, {}])
def test_an_unknown_layout_is_refused(tmp_path, tensors):
    with pytest.raises(UserError, match="no known layout"):
        weights.load(write(tmp_path / "w.npz", tensors or {"a": np.float32(1)}), RESNET18)
