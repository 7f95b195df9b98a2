"""A backbone of the tests' own (tests/backbones) goes everywhere that a ResNet goes: nothing else knows of it.

It is not residual, has a tensor whose shape depends on the images' size, and one without weight decay.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from duoreid.benchmarks.parity import halves, report
from duoreid.benchmarks.parity.compare import compare
from duoreid.benchmarks.parity.exam import Exam
from duoreid.benchmarks.parity.record import record
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints import weights
from duoreid.core.commands import evaluate as evaluating
from duoreid.core.commands import export as exporting
from duoreid.core.contract.learner import Batch
from duoreid.core.contract.state import FIRST, initial
from duoreid.core.errors import UserError
from duoreid.core.losses.float64.network import Network, embedding
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.network import initial_state
from duoreid.core.random import rng
from duoreid.core.settings.config import NetworkConfig, as_dict
from tests.backbones import patches
from tests.backbones.registered import register
from tests.conformance import examples_mvd
from tests.conformance.reference_mvd import MVDObjective
from tests.conftest import BACKENDS, probe_of
from tests.runs import SMALL, options_of, small_data, train
from tests.tolerances import check_close

HEIGHT, WIDTH, CLASSES = 32, 16, 6
PATCHES = NetworkConfig(arch=patches.NAME)
LEARNER = spec_of("baseline").learner_config(PATCHES, 8, CLASSES, HEIGHT, WIDTH, weight_decay=0.5)


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch, elsewhere: None) -> None:
    register(monkeypatch)


def images(count: int, height: int = HEIGHT) -> np.ndarray:
    return rng(0, "exam").integers(0, 256, (count, height, WIDTH, 3), dtype=np.uint8)


def tensors(config: NetworkConfig = PATCHES) -> dict[str, np.ndarray]:
    """One network's tensors, all different, in which the positions count."""
    state = initial_state(BackboneConfig(config, HEIGHT, WIDTH), CLASSES, 3)
    for name, value in state.items():
        draw = rng(3, f"exam/{name}")
        if value.ndim == 1:
            state[name] = draw.uniform(0.5, 1.5, value.shape).astype(np.float32)
        elif name == "positions":
            state[name] = draw.standard_normal(value.shape).astype(np.float32)
    return state


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("train", [True, False], ids=["train", "test"])
def test_conformance(probe, train, dtype):
    config, state = replace(PATCHES, batch_norm_group=4), tensors()
    outputs = probe.forward(config, {n: v.astype(dtype) for n, v in state.items()}, images(8), train=train)
    network = Network(config, state)
    expected = network(images(8), train)
    kind = "network.float64" if dtype == np.float64 else f"network.{'train' if train else 'test'}.float32"
    wanted = {"features": expected["features"], "logits": expected["classifier"]} | network.buffers
    for name, value in (wanted if train else wanted | {"embedding": embedding(expected)}).items():
        check_close(kind, outputs[name], value, what=name)
    moved = {name: value for name, value in state.items() if name != "positions"} | {"positions": -state["positions"]}
    with pytest.raises(AssertionError, match="differs by"):
        check_close(kind, outputs["features"], Network(config, moved)(images(8), train)["features"])


@cache
def learner_of(backend: str, precision: str = "float32"):
    return probe_of(backend).make_learner(LEARNER, precision=precision)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tensor_without_weight_decay_has_none(backend):
    """Adam's first moment is a tenth of the gradient, to which the others' weights are added."""
    learner, before = learner_of(backend), initial(LEARNER, 1)
    before |= {f"student.{name}": value for name, value in tensors().items() if name != "classifier.weight"}
    batch = Batch(images(8)[None], np.repeat(np.arange(4), 2).astype(np.int32))
    learner.import_state(before)
    _, gradients = probe_of(backend).gradients_of(learner, batch)
    learner.import_state(before)
    learner.step(batch, 1e-3, 0.0)
    after = learner.export_state()
    for name, decay in (("positions", 0.0), ("mix.weight", 0.5), ("patches.weight", 0.5)):
        name, size = f"student.{name}", 0.1 * np.abs(gradients[f"student.{name}"]).max()
        expected = 0.1 * (gradients[name] + decay * before[name])
        np.testing.assert_allclose(after[FIRST + name], expected, atol=1e-4 * size, err_msg=name)
    assert 0.05 * np.abs(before["student.positions"]).max() > 0.1 * size


def test_the_information_bottleneck_stands_behind_it_too():
    """Every term of MVD's objective; in torch alone, since MindSpore would compile three branches for it."""
    config = replace(examples_mvd.FULL, network=PATCHES)
    before, batch = examples_mvd.fresh(examples_mvd.example_state(config, 5)), examples_mvd.example_batch(config)
    losses, _ = probe_of("torch").gradients(config, before, batch)
    for name, value in MVDObjective(config, before, batch).losses().items():
        check_close("step.losses.float32", losses[name], value, what=name)


# -- whole runs -----------------------------------------------------------------------------------------------

ARCH = ["--data", "DATA", "--arch", patches.NAME]


def run(backend: str, *argv: str) -> int:
    small = options_of(argv[0], SMALL)
    return train(backend, *[str(small_data()) if word == "DATA" else word for word in (*argv, *ARCH, *small)])


def evaluate(backend: str, *argv: object) -> int:
    entry = importlib.import_module(f"duoreid.backends.{backend}.entry")
    words = [str(word) for word in (*argv, "--data", small_data(), "--size", "tiny")]
    return evaluating.evaluate(entry.BACKEND, entry.open_data, words)


def export(backend: str, *argv: object) -> int:
    module = importlib.import_module(f"duoreid.backends.{backend}.export")
    return exporting.export(module.BACKEND, module.PROGRAMS, module.load, [str(word) for word in argv])


METHODS = {"torch": ("mmt", "teacher2", ("onnx", "torch")), "mindspore": ("source", "student", ("mindir", "ckpt"))}
"""What each backend trains, the network that is then exported, and the formats; MindSpore compiles one network."""


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_evaluation_export_and_import(backend, tmp_path, capsys):
    method, role, formats = METHODS[backend]
    assert run(backend, method, "--output", str(tmp_path / "run")) == 0
    path = tmp_path / "run" / ("last.safetensors" if method == "mmt" else "stage1-1.safetensors")
    state, _ = checkpoint.load(path)
    assert state[f"{role}.positions"].shape == (patches.WIDTH, HEIGHT // patches.SIZE, WIDTH // patches.SIZE)
    assert (
        state[f"{role}.positions"] != initial_state(BackboneConfig(PATCHES, HEIGHT, WIDTH), 1, 1)["positions"]
    ).any()
    capsys.readouterr()

    words = ["--dataset", "synthetic-b", "--json"]
    assert evaluate(backend, path, "--network", role, *words) == 0
    tested = json.loads(capsys.readouterr().out)
    output = tmp_path / "network.npz"
    for form in (*formats, "npz"):
        written = tmp_path / f"network{'.pt2' if form == 'torch' else f'.{form}'}"
        assert export(backend, path, "--network", role, "--format", form, "--output", written) == 0
        assert "largest difference from the original" in capsys.readouterr().out

    sized = ["--arch", patches.NAME, "--height", HEIGHT, "--width", WIDTH]
    assert evaluate(backend, output, *sized, *words) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["results"][0]["mean"] == tested["results"][0]["mean"]


def test_weights_of_every_kind_of_file(tmp_path, capsys):
    """This library's names, ours in MindSpore, and from a checkpoint of several networks."""
    config = BackboneConfig(PATCHES, HEIGHT, WIDTH)
    own = tensors()
    usual = importlib.import_module("duoreid.backends.mindspore.export").usual_names(own)
    assert {"positions", "norm1.gamma", "norm2.moving_variance", "patches.weight", "neck.beta"} <= usual.keys()
    for name, named in (("own", own), ("wrapped", {f"module.{n}": v for n, v in own.items()}), ("usual", usual)):
        np.savez(tmp_path / f"{name}.npz", **named)
        loaded, report = weights.load(tmp_path / f"{name}.npz", config, capacity=CLASSES)
        assert not report.ignored
        assert loaded.keys() == own.keys()
        for tensor, value in own.items():
            np.testing.assert_array_equal(loaded[tensor], value, err_msg=tensor)
    settings = spec_of("mmt").learner_config(PATCHES, 8, CLASSES, HEIGHT, WIDTH, weight_decay=0.5)
    checkpoint.save(tmp_path / "mmt.safetensors", initial(settings, 1), {})
    loaded, _ = weights.load(f"{tmp_path / 'mmt.safetensors'}#teacher2", config)
    np.testing.assert_array_equal(loaded["positions"], initial(settings, 1)["teacher2.positions"])
    with pytest.raises(UserError, match=r"shape: positions is \(16, 4, 2\), expected \(16, 8, 4\)"):
        weights.load(tmp_path / "own.npz", BackboneConfig(PATCHES, 64, 32))
    with pytest.raises(UserError, match=r"do not fit tiny; [\s\S]*They fit --arch patches\."):
        weights.load(tmp_path / "own.npz", BackboneConfig(NetworkConfig(arch="tiny"), HEIGHT, WIDTH))
    assert run("torch", "source", "--weights", str(tmp_path / "own.npz"), "--output", str(tmp_path / "run")) == 0
    assert f"this library's names, {len(own) - 1} tensors matched" in capsys.readouterr().out


@pytest.mark.parametrize("command", [evaluate, export])
def test_another_size_than_the_one_trained_on_is_refused(command, tmp_path, capsys):
    data = {"height": HEIGHT, "width": WIDTH}
    path = tmp_path / "last.safetensors"
    checkpoint.save(
        path, initial(LEARNER, 1), {"config": {"method": "baseline", "network": as_dict(PATCHES), "data": data}}
    )
    more = ["--format", "npz", "--output", tmp_path / "x.npz"] if command is export else ["--dataset", "synthetic-b"]
    assert command("torch", path, "--height", 64, *more) == 2
    assert "trained on images of 32x16: its positions (16, 4, 2) would have to be (16, 8, 2)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--no-stem-relu"], "--stem-relu, which is False, means nothing to patches"),
        (["--last-stride", "2"], "--last-stride, which is 2, means nothing to patches"),
        (["--height", "36"], "whole patches of 8 pixels, got 36x16"),
    ],
)
def test_what_means_nothing_to_it_is_refused(options, words, tmp_path, capsys):
    """Before anything is trained, with one message."""
    assert train("torch", "source", "--data", str(small_data()), *ARCH[2:], *options_of("source", SMALL), *options) == 2
    assert words in capsys.readouterr().err


# -- parity ---------------------------------------------------------------------------------------------------

EXAM = Exam(method="baseline", size=f"{HEIGHT}x{WIDTH}", identities=4, images=2, people=6, steps=2, network=PATCHES)


def half(backend: str, learners: dict[str, object]) -> halves.Half:
    """One backend's records, in both precisions."""
    about = {"backend": backend, "about": f"{backend} for a test", "exam": as_dict(EXAM)}
    records = {}
    for part, precision in (("single", "float32"), ("double", "float64")):
        steps, draws = EXAM.steps, 1 if backend == "torch" else 0
        arrays, facts = record(
            EXAM, probe_of(backend), learners[precision], precision=precision, steps=steps, draws=draws
        )
        records[part] = arrays, facts | about
    return halves.join(records)


@cache
def learners(backend: str) -> dict[str, object]:
    return {
        precision: probe_of(backend).make_learner(EXAM.learner, precision=precision)
        for precision in ("float32", "float64")
    }


@pytest.mark.long
def test_parity(monkeypatch):
    """And a fault in torch's half of it is found at its place."""
    first, second = (half(backend, learners(backend)) for backend in BACKENDS)
    compared = compare(first, second)
    assert not compared.failed
    checks = [check for check in compared.checks if check.kind == "own" and check.precision == "single"]
    rules = {check.what: check.note for check in checks if check.note}
    assert rules["test, patches"] == "8x8 convolution of image, stride 8, padding 0"
    assert rules["test, norm1"] == "patches + positions normalised by the running statistics, epsilon 1e-05"
    assert rules["train, features"] == "mean of relu(norm2) over all places"
    text = report.text(compared)
    for words in ("student.positions", "norm2.running_var", "baseline, patches at 32x16", "checks passed: parity"):
        assert words in text

    faulty = probe_of("torch").make_learner(EXAM.learner)
    positions = faulty.networks["student"].positions
    plain = type(faulty.networks["student"]).features
    monkeypatch.setattr(type(faulty.networks["student"]), "features", lambda self, x: plain(self, x + positions.mean()))
    wrong = compare(half("torch", {"float32": faulty, "float64": learners("torch")["float64"]}), second)
    assert report.culprit(wrong.failed).what == "test, patches"
