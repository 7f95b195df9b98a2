"""Everybody's files: each published layout is read, with what was dropped and what differs in meaning said."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pytest

from duoreid.core.checkpoints import weights
from duoreid.core.checkpoints.layouts import LAYOUTS
from duoreid.core.checkpoints.trained import open_trained
from duoreid.core.errors import UserError
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.images import DEVIATION, MEAN
from duoreid.core.settings.config import NetworkConfig
from tests.conformance.examples import example_network

STATE = {
    name: value
    for name, value in example_network("tiny", 5).items()
    if not name.startswith(("neck.", "classifier.", "pooling."))
}
D = 256
NECK = {
    name: np.random.default_rng(index).uniform(0.5, 2, D).astype(np.float32)
    for index, name in enumerate(("weight", "bias", "running_mean", "running_var"))
}
ROWS = np.full((751, D), 0.25, np.float32)
EXPONENT = np.float32([2.75])

Tensors = dict[str, np.ndarray]


def under(prefix: str, tensors: Mapping[str, np.ndarray] = STATE) -> Tensors:
    return {prefix + name: value for name, value in tensors.items()}


def counted(tensors: Tensors) -> Tensors:
    """With the counters that torch's batch norm keeps."""
    norms = [name.removesuffix("running_mean") for name in tensors if name.endswith("running_mean")]
    return tensors | {f"{norm}num_batches_tracked": np.int64(3) for norm in norms}


def sequence(first: int) -> Tensors:
    places = {"conv1": "0", "bn1": "1"} | {f"layer{i + 1}": str(first + i) for i in range(4)}
    return {f"base.{places[name.split('.')[0]]}.{name.split('.', 1)[1]}": value for name, value in STATE.items()}


def two_domains(tensors: Tensors, ours: str, other: str) -> Tensors:
    """Each batch norm twice: the other domain's holds something else."""
    split = {}
    for name, value in tensors.items():
        head, _, last = name.rpartition(".")
        if f"{head}.running_mean" not in tensors:
            split[name] = value
            continue
        split |= {f"{head}.{ours}.{last}": value, f"{head}.{other}.{last}": value + 1}
    return split


PIXELS = {
    "pixel_mean": np.float32(MEAN).reshape(3, 1, 1) * 255,
    "pixel_std": np.float32(DEVIATION).reshape(3, 1, 1) * 255,
}
BOT = under("backbone.") | under("heads.bottleneck.0.", NECK) | {"heads.weight": ROWS} | PIXELS
HEAD = under("feat_bn.", NECK) | {"classifier.weight": ROWS}
LAYUMI = (
    under("model.")
    | {"model.fc.weight": ROWS, "model.fc.bias": ROWS[:, 0], "classifier.add_block.0.weight": ROWS[:512]}
    | {"classifier.add_block.1.running_var": ROWS[0], "classifier.classifier.0.weight": ROWS}
)
MOCO = under("encoder_q.") | under("encoder_k.", {name: value + 1 for name, value in STATE.items()})
MOCO |= {"encoder_q.fc.0.weight": ROWS, "encoder_q.fc.2.bias": ROWS[0], "queue": ROWS, "queue_ptr": np.int64([0])}
MINDSPORE = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
ZOO = {
    re.sub(r"(bn\d|downsample\.1)\.(\w+)$", lambda match: f"{match[1]}.{MINDSPORE[match[2]]}", name): value
    for name, value in STATE.items()
}

# title: (file, name of its layout, settings that a fitting network has, parts beside the backbone that are taken)
FILES: dict[str, tuple[Tensors, str, dict, set[str]]] = {
    "torchvision": (STATE | {"fc.weight": ROWS, "fc.bias": ROWS[:, 0]}, "torchvision or timm ResNet", {}, set()),
    "MMT": (sequence(3) | HEAD, "reference MMT, stem without ReLU", {"stem_relu": False}, {"neck", "classifier"}),
    "SpCL": (
        two_domains(sequence(4) | under("feat_bn.", NECK), "BN_T", "BN_S"),
        "reference MMT, stem with ReLU, as in SpCL and cluster-contrast",
        {},
        {"neck"},
    ),
    "cluster-contrast": (
        sequence(4) | under("feat_bn.", NECK) | {"gap.p": EXPONENT},
        "cluster-contrast with GeM",
        {"pooling": "gem"},
        {"neck", "pooling"},
    ),
    "OpenUnReID": (
        two_domains(under("backbone.") | under("head.feat_bn.", NECK), "dsbn.1", "dsbn.0")
        | {"classifier.weight": ROWS},
        "OpenUnReID",
        {},
        {"neck", "classifier"},
    ),
    "OpenUnReID, GeM": (
        under("backbone.") | under("head.feat_bn.", NECK) | {"global_pooling.p": EXPONENT},
        "OpenUnReID with GeM",
        {"pooling": "gem"},
        {"neck", "pooling"},
    ),
    "fast-reid BoT": (BOT, "fast-reid (BoT)", {"stem_pool": "end"}, {"neck", "classifier"}),
    "fast-reid SBS": (
        BOT | {"heads.pool_layer.p": EXPONENT},
        "fast-reid with GeM (SBS, AGW)",
        {"stem_pool": "end", "pooling": "gem"},
        {"neck", "classifier", "pooling"},
    ),
    "reid-strong-baseline": (
        under("base.") | under("bottleneck.", NECK) | {"classifier.weight": ROWS},
        "reid-strong-baseline",
        {"stem_relu": False},
        {"neck", "classifier"},
    ),
    "layumi": (LAYUMI, "Person_reID_baseline_pytorch", {"last_stride": 2}, set()),
    "torchreid": (
        STATE | {"classifier.weight": ROWS, "classifier.bias": ROWS[:, 0]},
        "torchreid ResNet",
        {"last_stride": 2},
        set(),
    ),
    "MoCo": (MOCO, "MoCo and LUPerson", {}, set()),
    "model zoo": (
        {name.replace("downsample", "down_sample_layer").replace(".bn2.", ".bn2d."): v for name, v in ZOO.items()}
        | {"end_point.weight": ROWS, "moments.conv1.weight": STATE["conv1.weight"]},
        "MindSpore model zoo ResNet",
        {"conv_padding": "same"},
        set(),
    ),
    "MindCV": (
        {name.replace("downsample", "down_sample"): v for name, v in ZOO.items()} | {"classifier.bias": ROWS[:, 0]},
        "MindCV ResNet",
        {"stem_pool": "end"},
        set(),
    ),
}


def config(**settings: object) -> BackboneConfig:
    return BackboneConfig(NetworkConfig(arch="tiny", **settings), 64, 32)


def write(path, tensors: Tensors):
    np.savez(path / "w.npz", **tensors)
    return path / "w.npz"


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "trainer.model.", "state.net._orig_mod."])
@pytest.mark.parametrize("title", FILES)
def test_each_layout_is_read_behind_any_wrapper(tmp_path, title, prefix):
    file, name, settings, parts = FILES[title]
    if title == "MoCo" and prefix == "":
        file = file | {"classifier_unrelated.weight": ROWS}
    loaded, report = weights.load(write(tmp_path, counted(under(prefix, file))), config(**settings), capacity=751)
    assert report.layout.name == name
    for tensor, value in STATE.items():
        np.testing.assert_array_equal(loaded[tensor], value, err_msg=tensor)
    assert {tensor.split(".")[0] for tensor in loaded.keys() - STATE.keys()} == parts
    if "neck" in parts:
        np.testing.assert_array_equal(loaded["neck.running_var"], NECK["running_var"])
    if "pooling" in parts:
        np.testing.assert_array_equal(loaded["pooling.exponent"], EXPONENT)
    dropped = sum(map(len, report.ignored.values()))
    assert report.matched + dropped == len(counted(under(prefix, file)))
    assert "assumed: " in str(report)
    assert "this one" not in str(report).replace("this one is the pooled", "")


@pytest.mark.parametrize("title", FILES)
def test_evaluation_takes_over_what_the_layout_tells(tmp_path, title):
    file, _, settings, _ = FILES[title]
    trained = open_trained(write(tmp_path, file), arch="tiny")
    for field, value in settings.items():
        assert getattr(trained.config.network, field) == value
    assert "CAUTION: networks of this layout" not in trained.report
    state = trained.models["network"].state
    np.testing.assert_array_equal(state["student.layer4.0.conv1.weight"], STATE["layer4.0.conv1.weight"])


@pytest.mark.parametrize("title", [title for title, (_, _, settings, _) in FILES.items() if settings])
def test_training_warns_of_what_differs(tmp_path, title):
    file, _, settings, parts = FILES[title]
    _, report = weights.load(write(tmp_path, file), config())
    for field in settings:
        assert re.search(
            rf"CAUTION: networks of this layout have {field} .*--(no-)?{field.replace('_', '-')}", str(report)
        )
    if "pooling" in parts:
        assert "the exponent of a pooling that this network has not: 1" in str(report)


def test_the_classifier_of_other_people_is_dropped_with_its_reason(tmp_path):
    """As a run of another dataset meets it: 751 classes there, 100 here."""
    for title, (file, _, settings, parts) in FILES.items():
        loaded, report = weights.load(write(tmp_path, file), config(**settings), capacity=100)
        assert "classifier.weight" not in loaded, title
        if "classifier" in parts:
            assert "751 classes, this run 100" in str(report), title


PARTS = {
    "non-local blocks": BOT | {"backbone.NL_2.0.g.weight": ROWS},
    "the branches of MGN": BOT | {"b1.0.conv1.weight": ROWS, "b2_head.weight": ROWS},
    "squeeze-and-excitation": BOT | {"backbone.layer1.0.se.fc.0.weight": ROWS},
    "an embedding layer": BOT | {"heads.bottleneck.1.weight": ROWS[0]},
    "the parts of PCB": LAYUMI | {"classifier0.add_block.0.weight": ROWS},
    "a stem of three": STATE | {"conv1.0.weight": ROWS},
}


@pytest.mark.parametrize("what", PARTS)
def test_parts_that_no_network_here_has_are_named(tmp_path, what):
    with pytest.raises(UserError, match=rf"w\.npz \(.*\) holds {what}.*none was taken"):
        weights.load(write(tmp_path, PARTS[what]), config())


def test_other_pixels_are_a_caution(tmp_path):
    file = BOT | {"pixel_mean": np.float32([[[103.5]], [[116.3]], [[123.7]]]), "pixel_std": np.ones((3, 1, 1))}
    _, report = weights.load(write(tmp_path, file), config(stem_pool="end"))
    assert str(report).count("CAUTION: the file's network expects other pixels") == 2
    _, report = weights.load(write(tmp_path, BOT), config(stem_pool="end"))
    assert "other pixels" not in str(report)


def test_what_lies_beside_the_network_is_named_and_warned_of(tmp_path):
    file = under("net.") | {"projector.weight": ROWS}
    _, report = weights.load(write(tmp_path, file), config())
    assert report.ignored["beside the network"] == ("projector.weight",)
    assert "CAUTION: if the file's own feature comes from what lies beside" in str(report)


def test_several_networks_ask_which(tmp_path):
    other = {name: value + 1 for name, value in STATE.items()}
    path = write(tmp_path, under("net.") | under("mean_net.", other))
    with pytest.raises(UserError, match=r"holds the networks net, mean_net: choose one, as in .*#mean_net"):
        weights.load(path, config())
    with pytest.raises(UserError, match="Did you mean 'mean_net'"):
        weights.load(f"{path}#meannet", config())
    loaded, report = weights.load(f"{path}#mean_net", config())
    np.testing.assert_array_equal(loaded["conv1.weight"], other["conv1.weight"])
    assert len(report.ignored["other networks, optimiser"]) == len(STATE)


def test_each_layout_has_its_file_here():
    written = {name for _, name, _, _ in FILES.values()} | {"IBN-Net-a", "reid-strong-baseline, IBN-Net-a"}
    assert {layout.name for layout in LAYOUTS["resnet"]} <= written
