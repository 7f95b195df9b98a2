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


def test_a_threshold_is_carried_along(run_folder, tmp_path):
    """From a checkpoint to what is exported of it; one of another network is not taken."""
    from duoreid.core.checkpoints import files as checkpoint

    path = run_folder / "last.safetensors"
    digest = duoreid.load(path).digest
    state, metadata = checkpoint.load(path)
    checkpoint.save(path, state, metadata | {"threshold": {"digest": digest, "far": 0.01}})
    assert open_trained(path).threshold["far"] == 0.01
    assert duoreid.load(path).description.threshold["far"] == 0.01
    assert duoreid.load(path, network="teacher2").description.threshold is None
    for name in ("onnx", "safetensors"):
        file = export(run_folder, tmp_path / f"network.{name}", "--format", name)
        assert duoreid.load(file).description.threshold["far"] == 0.01


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
