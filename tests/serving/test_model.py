"""Opening a model from every kind of source, and embedding every kind of picture."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import duoreid
from duoreid import cli
from duoreid.core.checkpoints.trained import open_trained
from duoreid.core.commands.export import pictures
from duoreid.core.gallery.gallery import Gallery
from duoreid.core.serving.description import Description, as_texts, describe
from duoreid.core.serving.engines import OnnxEngine
from tests.serving.conftest import ARCH, HEIGHT, WIDTH, picture, plain_model, small_run

ROOT = Path(__file__).parents[2]


def export(source, output, *words):
    given = ["export", str(source), "--backend", "torch", "--network", "teacher1", "--output", str(output), *words]
    assert cli.main(given) == 0
    return output


def test_every_source_is_the_same_model(run_folder, tmp_path, capsys):
    images = pictures(5, HEIGHT, WIDTH)
    model = duoreid.load(run_folder)
    features = model.embed(list(images))
    assert features.dtype == np.float32
    assert features.shape == (5, model.dimension) == (5, 24)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert model.size == (HEIGHT, WIDTH)
    assert model.threshold is None
    assert model.describe()["network"] == "teacher1", "the first of those that embed"
    onnx = export(run_folder, tmp_path / "network.onnx", "--format", "onnx")
    normalised = export(run_folder, tmp_path / "plain.onnx", "--format", "onnx", "--input", "normalised")
    tensors = export(run_folder, tmp_path / "network.safetensors", "--format", "safetensors")
    for source in (run_folder / "last.safetensors", onnx, normalised, tensors):
        other = duoreid.load(source)
        assert other.digest == model.digest
        assert other.preparation == model.preparation
        np.testing.assert_allclose(other.embed(images), features, atol=1e-5)
    assert duoreid.load(run_folder, network="teacher2").digest != model.digest
    npz = export(run_folder, tmp_path / "network.npz", "--format", "npz")
    foreign = duoreid.load(npz, arch=ARCH, height=HEIGHT, width=WIDTH)
    assert foreign.digest == model.digest
    np.testing.assert_allclose(foreign.embed(images), features, atol=1e-5)
    with pytest.raises(ValueError, match="give --arch"):
        duoreid.load(npz)
    with pytest.raises(ValueError, match="give height and width"):
        duoreid.load(npz, arch=ARCH)


def test_torch_and_onnx_rank_alike_and_share_a_gallery(run_folder, tmp_path):
    model = duoreid.load(run_folder)
    files = [
        picture(tmp_path / "many" / f"{person}_{view}.png", person, view) for person in range(20) for view in (0, 1)
    ]
    gallery = Gallery.open(tmp_path / "gallery", model)
    gallery.add(files)
    other = duoreid.load(export(run_folder, tmp_path / "network.onnx", "--format", "onnx"))
    with_other = Gallery.open(tmp_path / "gallery", other)
    one, two = gallery.search(model.embed(files)), with_other.search(other.embed(files))
    for mine, theirs in zip(one, two, strict=True):
        np.testing.assert_allclose(mine.similarities, theirs.similarities, atol=1e-4)
        far = np.abs(np.subtract.outer(mine.similarities, mine.similarities) + np.eye(len(mine))).min(1) > 1e-4
        assert np.array(mine.files)[far].tolist() == np.array(theirs.files)[far].tolist()


def test_mindspore_makes_the_same_features(tmp_path, elsewhere):
    run = small_run(tmp_path / "run", "tiny")
    model = duoreid.load(run, backend="mindspore")
    torch = duoreid.load(run, threads=1)
    assert model.digest == torch.digest
    images = pictures(6, HEIGHT, WIDTH)
    np.testing.assert_allclose(model.embed(images), torch.embed(images), atol=1e-4)


def test_pictures_of_every_kind(tmp_path, model):
    file = picture(tmp_path / "a.png", 1)
    array = np.array(Image.open(file))
    features = model.embed([file, str(file), array, Image.open(file)], batch_size=3)
    np.testing.assert_array_equal(features, np.repeat(features[:1], 4, axis=0))
    for one in (file, str(file), array, Image.open(file)):
        np.testing.assert_array_equal(model.embed(one), features[:1])
    np.testing.assert_array_equal(model.embed(array for _ in range(5)), np.repeat(features[:1], 5, axis=0))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], "no pictures"),
        (["absent.jpg"], r"picture 0 cannot be embedded.*No such file"),
        ([np.zeros((4, 4, 3), np.float32)], r"must be uint8 .* \* 255"),
        ([np.zeros((4, 4), np.uint8)], "from grey"),
        ([3], "a path, a uint8 array or a PIL image expected, got int"),
    ],
)
def test_pictures_that_cannot_be_embedded(model, images, words):
    with pytest.raises(ValueError, match=words):
        model.embed(images)


def test_a_picture_that_is_too_large(model, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"picture 0 cannot be embedded: .*exceeds limit"):
        model.embed(picture(tmp_path / "large.png", 1))

    def short(*given):
        raise MemoryError

    monkeypatch.setattr(model.pictures, "pixels", short)
    with pytest.raises(ValueError, match="needs more memory than there is; make it smaller"):
        model.embed(tmp_path / "large.png")


def test_a_folder_is_no_picture(model, tmp_path):
    with pytest.raises(ValueError, match=r"is a folder.*Gallery.add"):
        model.embed(tmp_path)


def test_features_that_are_not_finite_are_refused(model):
    model._engine.embed = lambda images: np.full((len(images), 4), np.nan)
    with pytest.raises(ValueError, match=r"plain makes features that are not finite"):
        model.embed(np.zeros((4, 4, 3), np.uint8))


def test_what_cannot_be_loaded(tmp_path, run_folder):
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(b"no graph")
    for source, options, words in (
        (run_folder, {"backend": "tensorflow"}, "unknown backend"),
        (run_folder, {"backend": "onnx"}, "is no .onnx file"),
        (run_folder, {"thread": 1}, "Did you mean 'threads'"),
        (run_folder, {"height": 8}, "height must be at least"),
        (run_folder, {"network": "teacher9"}, "teacher9"),
        (tmp_path / "absent.onnx", {}, "is not there"),
        (plain, {}, "cannot be run by onnxruntime"),
        (plain, {"backend": "mindspore"}, "leave backend='mindspore' out"),
        (plain, {"height": 64}, "says height itself"),
        (tmp_path / "absent.pth", {"arch": ARCH}, "cannot be read"),
    ):
        with pytest.raises(ValueError, match=words):
            duoreid.load(source, **options)


def test_an_onnx_file_of_another_program(run_folder, tmp_path):
    import onnx

    file = export(run_folder, tmp_path / "network.onnx", "--format", "onnx")
    graph = onnx.load(file)
    known = {entry.key: entry.value for entry in graph.metadata_props}
    assert known["height"] == str(HEIGHT)
    assert known["interpolation"] == "bicubic"
    assert known["mean"].startswith("[0.485")
    for texts, words in (
        ({}, "does not say how its images are prepared"),
        ({**known, "duoreid": "9"}, "newer version of duoreid"),
        ({**known, "mean": "?"}, "metadata that cannot be read"),
        ({**known, "height": "99"}, "its metadata says"),
    ):
        del graph.metadata_props[:]
        onnx.helper.set_model_props(graph, texts)
        onnx.save(graph, tmp_path / "other.onnx")
        with pytest.raises(ValueError, match=words):
            duoreid.load(tmp_path / "other.onnx")


class Twisted:
    """A session of a provider that this onnxruntime lacks: the plain one's features, turned by some angle."""

    def __init__(self, session, provider, angle):
        self._session, self._provider, self._angle = session, provider, angle

    def get_providers(self):
        return [self._provider, "CPUExecutionProvider"]

    def run(self, names, given):
        (features,) = self._session.run(names, given)
        other = np.roll(features, 1, axis=1)
        other -= (other * features).sum(axis=1, keepdims=True) * features
        other /= np.linalg.norm(other, axis=1, keepdims=True)
        return [np.cos(self._angle) * features + np.sin(self._angle) * other]

    def __getattr__(self, name):
        return getattr(self._session, name)


@pytest.mark.parametrize(
    ("angles", "taken"),
    [
        ({"OpenVINO": 0.01}, "OpenVINO"),
        ({"OpenVINO": 0.2}, "CPU"),
        ({"OpenVINO": np.nan}, "CPU"),
        ({"OpenVINO": None}, "CPU"),
        ({"CUDA": 0.0, "OpenVINO": 0.01}, "CUDA"),
        ({"CUDA": None, "OpenVINO": 0.01}, "OpenVINO"),
    ],
)
def test_onnxruntime_takes_the_fastest_that_is_correct(graph, monkeypatch, angles, taken):
    """angles: of the providers that are there, by which their features are off; None: cannot be loaded."""
    import onnxruntime

    plain, opened = "CPUExecutionProvider", onnxruntime.InferenceSession

    def session(path, settings, providers):
        loaded = opened(path, settings, providers=[plain])
        angle = angles.get(providers[0].removesuffix("ExecutionProvider"))
        return loaded if angle is None else Twisted(loaded, providers[0], angle)

    there = [*(f"{name}ExecutionProvider" for name in angles), plain]
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    engine = OnnxEngine(graph)
    assert f"on {taken}ExecutionProvider" in engine.about
    assert ("cosine with float32" in engine.about) == (taken != "CPU")
    if taken == "OpenVINO":
        assert engine.cosine == pytest.approx(np.cos(0.01), abs=1e-6)
    assert "CPUExecutionProvider" in OnnxEngine(graph, device="cpu").about
    if angles["OpenVINO"] is None:
        with pytest.raises(ValueError, match="has OpenVINOExecutionProvider, but cannot load it"):
            OnnxEngine(graph, device="openvino")
    else:
        assert OnnxEngine(graph, device="openvino").about.split(" on ")[1].startswith("OpenVINO")


def test_a_provider_that_is_not_installed_is_named(graph):
    with pytest.raises(ValueError, match="install onnxruntime-gpu instead, or take device='cpu'"):
        OnnxEngine(graph, device="cuda")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """An exported network, whatever its backbone: this one flattens and normalises."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto
    images = helper.make_tensor_value_info("images", kind.UINT8, ["batch", 8, 4, 3])
    features = helper.make_tensor_value_info("features", kind.FLOAT, ["batch", 96])
    nodes = [
        helper.make_node("Cast", ["images"], ["wide"], to=kind.FLOAT),
        helper.make_node("Flatten", ["wide"], ["flat"]),
        helper.make_node("LpNormalization", ["flat"], ["features"], axis=1, p=2),
    ]
    made = helper.make_model(
        helper.make_graph(nodes, "g", [images], [features]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.helper.set_model_props(made, as_texts(Description("network", "flat", 8, 4, "bicubic", "d", dimension=96)))
    path = tmp_path_factory.mktemp("graph") / "network.onnx"
    onnx.save(made, str(path))
    return path


def test_a_threshold_is_carried_along(run_folder, tmp_path):
    """From a checkpoint to what is exported of it; one of another network is not taken."""
    from duoreid.core.checkpoints import files as checkpoint

    path = run_folder / "last.safetensors"
    digest = duoreid.load(path).digest
    state, metadata = checkpoint.load(path)
    checkpoint.save(path, state, metadata | {"threshold": {"digest": digest, "far": 0.01}})
    assert open_trained(path).threshold["far"] == 0.01
    assert describe(open_trained(path), "teacher1").threshold["far"] == 0.01
    assert describe(open_trained(path, "teacher2"), "teacher2").threshold is None
    assert OnnxEngine(export(run_folder, tmp_path / "x.onnx", "--format", "onnx")).description.threshold["far"] == 0.01
    tensors = export(run_folder, tmp_path / "x.safetensors", "--format", "safetensors")
    assert open_trained(tensors).threshold["far"] == 0.01


def test_importing_duoreid_imports_nothing_large():
    code = (
        "import sys, duoreid; print([n for n in ('torch', 'mindspore', 'faiss', 'scipy', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_an_exported_model_needs_no_framework(run_folder, tmp_path):
    file = export(run_folder, tmp_path / "network.onnx", "--format", "onnx")
    code = f"""
import sys
sys.modules.update(torch=None, mindspore=None)
import duoreid, numpy as np
model = duoreid.load({str(file)!r})
gallery = duoreid.Gallery.open({str(tmp_path / "gallery")!r}, model)
gallery.add({str(picture(tmp_path / "a.png", 1))!r})
print(gallery.search(model.embed({str(tmp_path / "a.png")!r}))[0].files)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "a.png" in done.stdout


def test_public_names_are_there():
    for name in duoreid.__all__:
        assert getattr(duoreid, name) is not None
    assert "load" in dir(duoreid)
    with pytest.raises(AttributeError, match="Public are load"):
        _ = duoreid.lod


@pytest.mark.parametrize(
    "module",
    [
        "library",
        "core.clusters",
        "core.serving.description",
        "core.gallery.exact",
        "core.gallery.hits",
        "core.gallery.gallery",
        "core.gallery.reranking",
        "datasets.sources",
    ],
)
def test_examples_print_what_they_say(module):
    result = doctest.testmod(importlib.import_module(f"duoreid.{module}"), optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed


def test_models_of_the_tests_compare(model):
    assert plain_model().digest == model.digest
