"""Files of MVD's public codes: what is taken, what is told, what is refused. tests/golden has their features."""

import json
from collections import OrderedDict
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from duoreid.benchmarks.golden.mvd import shapes_of
from duoreid.core.checkpoints.formats import CKPT, PTH, Contents, read
from duoreid.core.checkpoints.layouts_mvd import PORT, TORCH, branches, layout_of, public_of
from duoreid.core.checkpoints.trained import _public
from duoreid.core.errors import UserError
from duoreid.core.methods.registry import spec_of
from duoreid.core.serving.opening import _prepared
from duoreid.core.settings.config import NetworkConfig
from duoreid.core.settings.cross_modal import MVDConfig
from duoreid.core.settings.presets import presets

GOLDEN = Path(__file__).parents[1] / "golden" / "mvd"
FILES = {TORCH: ("mvd-torch.json", "model_best.pth.tar", PTH), PORT: ("mvd-mindspore.json", "a.ckpt", CKPT)}
LAYOUTS = pytest.mark.parametrize("layout", FILES, ids=["torch code", "port"])


def contents(layout, classes=3, **changes):
    """What a file holds, all numbers 0.5; changes: a tensor's name in the file -> another array, None for none."""
    document, name, kind = FILES[layout]
    loaded = json.loads((GOLDEN / document).read_text())
    prefixes = {tensor["name"]: tensor.get("prefix", "") for tensor in loaded["tensors"]}
    shapes = shapes_of(loaded, classes)
    tensors = {prefixes[key] + key: np.broadcast_to(np.float32(0.5), shape) for key, shape in shapes.items()}
    tensors = {key: value for key, value in (tensors | changes).items() if value is not None}
    return Contents(Path(name), kind, tensors)


@cache
def made(layout):
    return public_of(contents(layout))


def learner_config(preset, classes=3, **changes):
    recipe = presets()[preset]
    section = replace(recipe.mvd, **changes)
    size = (classes, classes, recipe.data.height, recipe.data.width)
    return spec_of("mvd").learner_config(recipe.network, *size, section=section)


@LAYOUTS
def test_every_tensor_is_taken_or_told(layout):
    joint, total = made(layout), len(contents(layout).tensors)
    left = 3 * (53 + 1 + 3) + 6 if layout is TORCH else 0  # counters of norms, ImageNet's classifiers
    assert len(joint.tensors) == total - left
    assert {1065, 879} >= {total}
    assert joint.tensors["shared.classifier.bias"].shape == (3,)
    assert joint.tensors["infrared.bottleneck.hidden.bias"].shape == (256,)
    assert all(value.dtype == np.float32 for value in joint.tensors.values())
    assert f"{len(joint.tensors)} tensors matched" in joint.report


def test_prefixes_do_not_matter():

    bare = PORT.bare("optimizer._backbone.shared_backbone.base.conv1.weight")
    assert (bare, PORT.ours(bare)) == ("shared_backbone.base.conv1.weight", "shared.conv1.weight")
    assert PORT.bare("rgb_bottleneck.classifier.0.weight") == "rgb_bottleneck.classifier.0.weight"
    assert TORCH.bare("module.RGB_Bottleneck.classifier.0.weight") == "RGB_Bottleneck.classifier.0.weight"
    assert PORT.bare("learning_rate") == ""


def test_other_files_are_of_another_kind():
    for names in ({}, {"conv1.weight": 0, "bn1.gamma": 0}, {"visible.neck.weight": 0}):
        assert layout_of(names) is None
    assert public_of(Contents(Path("a.pth"), PTH, {"conv1.weight": np.zeros(3)})) is None


def test_files_that_are_not_whole():
    missing, odd = "IR_backbone.base.conv1.weight", "RGB_backbone.base.bn1.weight"
    wrong = {missing: None, odd: np.full(64, np.nan, np.float32), "RGB_backbone.base.more": np.zeros(2, np.float32)}
    with pytest.raises(UserError) as told:
        public_of(contents(TORCH, **wrong))
    for line in (
        "missing: infrared.conv1.weight (64, 3, 7, 7)",
        "not finite: visible.bn1.weight",
        "unexpected: visible.more (2,)",
    ):
        assert line in str(told.value)
    with pytest.raises(UserError, match=r"has visible\.conv1\.weight twice"):
        public_of(contents(PORT, **{"rgb_backbone.visible.conv1.weight": np.zeros(3, np.float32)}))
    with pytest.raises(UserError, match=r"has no visible.classifier.weight: the file is cut short"):
        public_of(contents(TORCH, **{"RGB_backbone.classifier.0.weight": None}))


def test_a_file_is_ready_to_be_tested():
    trained = _public(made(PORT), "", "", None, (None, None))
    assert (trained.sized, trained.known) == (True, False)
    ready = _prepared(trained, {"height": None, "width": None, "interpolation": None}).config.data
    assert (ready.height, ready.width, ready.interpolation) == (288, 144, "lanczos")
    assert trained.config.network.conv_padding == "same"
    assert trained.models["mvd"].config.section.feature == "each"
    assert _public(made(PORT), "", "resnet50", True, (256, 128)).config.data.height == 256
    with pytest.raises(UserError, match="whose arch is resnet50, not tiny"):
        _public(made(PORT), "", "tiny", None, (None, None))
    with pytest.raises(UserError, match="make together: leave --network visible out"):
        _public(made(PORT), "visible", "", None, (None, None))


def test_starting_a_training_from_a_file():
    tensors, report = branches(made(TORCH), learner_config("mvd-sysu"))
    assert tensors.keys() == made(TORCH).tensors.keys()
    assert "not taken" not in report
    assert "CAUTION" not in report
    fewer, report = branches(made(TORCH), learner_config("mvd-sysu", classes=7, biases=False))
    lost = made(TORCH).tensors.keys() - fewer.keys()
    assert lost >= {"visible.classifier.weight", "shared.classifier.bias", "infrared.bottleneck.linear1.bias"}
    assert len(lost) == 3 * 7
    assert "not taken: " in report


def test_starting_another_network_from_a_file():
    with pytest.raises(UserError, match=r"attention2\.gamma for one: start from --preset mvd-sysu, whose"):
        branches(made(TORCH), learner_config("mvd-sysu", channel_attention=False))
    with pytest.raises(UserError, match="cannot start source"):
        branches(made(TORCH), spec_of("source").learner_config(NetworkConfig("resnet50"), 3, 3, 256, 128))
    plain = spec_of("mvd").learner_config(
        NetworkConfig("resnet50"), 3, 3, 288, 144, section=MVDConfig(biases=True, neck_bias=True)
    )
    assert (
        "CAUTION: this network differs from the file's: last_stride 1, there 2; conv_padding"
        in branches(made(PORT), plain)[1]
    )


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_file_of_the_torch_code_with_a_numpy_scalar_beside_the_tensors(tmp_path, zipped):
    """As torch.save writes it, of a few tensors: what lies around them. The whole file has 353 MB."""
    names = ("RGB_backbone.base.bn1.weight", "shared_Bottleneck.classifier.4.bias")
    content = {"model": OrderedDict({name: torch.full((3,), 0.5) for name in names}), "epoch": 101}
    path = tmp_path / "model_best.pth.tar"
    torch.save(content | {"best_top1": np.float64(0.6)}, path, _use_new_zipfile_serialization=zipped)
    file = read(path)
    assert {name: value.tolist() for name, value in file.tensors.items()} == dict.fromkeys(names, [0.5] * 3)
    assert (file.kind, file.aside) == (PTH, ("epoch = 101", "best_top1 = 0.6"))
