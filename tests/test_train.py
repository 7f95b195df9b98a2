"""`python -m backends.*.train` as a user meets it: small whole runs, and what happens when something is wrong."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.commands.command import train as train_command
from duoreid.core.commands.evaluate import evaluate as evaluate_command
from duoreid.core.methods.registry import METHODS
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.network import initial_state
from duoreid.core.settings.config import NetworkConfig
from tests.conftest import BACKENDS
from tests.runs import options_of, small_data

ROOT = Path(__file__).parent.parent
SMALL = [
    "--size", "tiny", "--height", "32", "--width", "16", "--pretrain-epochs", "1", "--pretrain-iterations", "2",
    "--pretrain-identities", "4", "--pretrain-images", "2", "--pretrain-milestones", "--epochs", "2",
    "--iterations", "2", "--identities", "4", "--images", "2", "--clusters", "6", "--evaluate-batch", "32",
]  # fmt: skip


@pytest.fixture
def data():
    """A folder with the two synthetic domains at their smallest."""
    return small_data()


def train(backend, data, *argv):
    """Run in this process; returns the exit status."""
    entry = importlib.import_module(f"duoreid.backends.{backend}.entry")
    small = options_of(argv[0], SMALL) if argv and argv[0] in METHODS else SMALL
    return train_command(entry.BACKEND, entry.open_data, ["--data", str(data), *small, *argv])


@pytest.mark.parametrize("backend", BACKENDS)
def test_mmt_from_nothing_to_a_table(backend, data, tmp_path, capsys, shallow):
    assert train(backend, data, "--output", str(tmp_path / "run")) == 0
    printed = capsys.readouterr().out
    for words in ("source only, network 2", "epoch 2, teacher 1", "epoch 2, teacher 2", "rank-10", "mINP", "whole run"):
        assert words in printed
    files = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert files == [
        "config.json", "last.safetensors", "lock", "metrics.jsonl", "previous.safetensors", "stage1-1.safetensors",
        "stage1-2.safetensors", "summary.json",
    ]  # fmt: skip
    state, metadata = checkpoint.load(tmp_path / "run" / "last.safetensors")
    assert metadata["position"] == {"stage": 2, "network": 0, "epoch": 1, "step": 2}
    assert metadata["config"]["method"] == "mmt"
    assert state["labels"].dtype == np.int32
    assert set(state["labels"]) == set(range(6))
    assert state["adam.step"] == 2  # the optimiser starts afresh each epoch
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [row["name"] for row in summary["rows"]][:2] == ["source only, network 1", "source only, network 2"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["event"] == "epoch" and line["stage"] == "mmt"]
    assert [line["facts"]["clusters"] for line in epochs] == [6, 6]
    assert epochs[0]["losses"].keys() == {"hard_ce", "hard_triplet", "soft_ce", "soft_triplet", "total"}


def test_a_run_repeats_bitwise(data, tmp_path):
    for name in ("one", "two"):
        assert train("torch", data, "--output", str(tmp_path / name)) == 0
    one, two = (checkpoint.load(tmp_path / name / "last.safetensors")[0] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], err_msg=name)


def test_stage_one_alone_and_its_networks_used_again(data, tmp_path, capsys):
    assert train("torch", data, "mmt", "--output", str(tmp_path / "first"), "--epochs", "1") == 0
    first = json.loads((tmp_path / "first" / "summary.json").read_text())
    start = ["--start", str(tmp_path / "first")]
    assert train("torch", data, "baseline", "--output", str(tmp_path / "again"), "--epochs", "1", *start) == 0
    again = json.loads((tmp_path / "again" / "summary.json").read_text())
    assert again["rows"][0]["mean_ap"] == first["rows"][0]["mean_ap"]
    assert [row["name"] for row in again["rows"]] == ["source only, network 1", "epoch 1, student"]
    assert train("torch", data, "source", "--output", str(tmp_path / "alone")) == 0
    alone = json.loads((tmp_path / "alone" / "summary.json").read_text())
    assert alone["rows"][0]["mean_ap"] == first["rows"][0]["mean_ap"]
    assert "read from" in capsys.readouterr().out


def test_dbscan_and_selection_on_the_test_set(data, tmp_path, capsys):
    argv = ["--clustering", "dbscan", "--k1", "8", "--k2", "3", "--eps-share", "0.05", "--min-samples", "2"]
    argv += ["--select", "test-rank1", "--save-period", "1"]
    assert train("torch", data, "--output", str(tmp_path / "run"), *argv) == 0
    out = capsys.readouterr().out
    assert "ON THE TARGET'S TEST LABELS (--select test-rank1): rank-1" in out
    best, metadata = checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert metadata["selected_on"] == "target test labels"
    kept, about = checkpoint.load(tmp_path / "run" / f"epoch-{metadata['epoch']}.safetensors")
    assert about["stage"] == 2
    assert {name for name in best if not np.array_equal(best[name], kept[name])} == set()
    assert sorted(path.name for path in (tmp_path / "run").glob("stage1-*-epoch-*")) == [
        "stage1-1-epoch-1.safetensors",
        "stage1-2-epoch-1.safetensors",
    ]
    assert checkpoint.load(tmp_path / "run" / "last.safetensors")[1]["memory"]["eps"] > 0


@pytest.mark.parametrize(
    ("argv", "needles"),
    [
        (["--epoch", "3"], ["--epochs"]),
        (["--target", "synthetic-z"], ["synthetic-z", "synthetic-b"]),
        (["--target", "market1501"], ["market1501", "bounding_box_train"]),
        (["--clusters", "100000"], ["--clusters 100000", "features to cluster"]),
        (["--pretrain-identities", "64"], ["64", "identities"]),
        (["--identities", "8"], ["--clusters 6", "8 identities"]),
        (["--start", "/nowhere"], ["/nowhere"]),
        (["--rate", "1e30"], ["diverged"]),
        (["--device", "cuda", "--device-id", "7"], ["no CUDA device", "--device cpu"]),
        (["--size", "enormous"], ["enormous", "tiny"]),
    ],
    ids=lambda value: value[0].lstrip("-") if isinstance(value, list) else None,
)
def test_a_mistake_ends_in_one_message(data, tmp_path, capsys, argv, needles):
    if argv[0] == "--size":
        data = tmp_path / "elsewhere"
    assert train("torch", data, "--output", str(tmp_path / "run"), *argv) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") or "\nerror: " in message
    assert "Traceback" not in message
    for needle in needles:
        assert needle in message


@pytest.mark.parametrize("argv", [["--clusters", "100000"], ["--clustering", "dbscan", "--k1", "1000"]])
def test_a_clustering_that_cannot_be_is_told_before_anything_is_trained(data, tmp_path, capsys, argv):
    assert train("torch", data, "--output", str(tmp_path / "run"), *argv) == 2
    assert "features to cluster" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_what_was_saved_before_a_mistake_is_whole(data, tmp_path, capsys):
    assert train("torch", data, "--output", str(tmp_path / "run"), "--rate", "1e30") == 2
    for name in ("stage1-1", "stage1-2"):
        state, _ = checkpoint.load(tmp_path / "run" / f"{name}.safetensors")
        assert all(np.isfinite(value).all() for value in state.values())


def test_a_target_without_labels_is_adapted_to_and_not_tested(data, tmp_path, capsys):
    target = tmp_path / "unlabelled"
    target.mkdir()
    for image in sorted((data / "synthetic-b" / "bounding_box_train").glob("*.jpg")):
        shutil.copy(image, target / f"image{len(list(target.iterdir())):04d}.jpg")
    (tmp_path / "synthetic-a").symlink_to(data / "synthetic-a")
    argv = ["--target", "folder", "--output", str(tmp_path / "run")]
    status = train("torch", tmp_path, *argv)
    printed = capsys.readouterr()
    assert status == 0, printed.err
    assert "no labels to test by" in printed.out
    assert (tmp_path / "run" / "last.safetensors").is_file()
    assert train("torch", tmp_path, *argv, "--output", str(tmp_path / "other"), "--select", "test") == 2
    assert "--select last" in capsys.readouterr().err


def test_pictures_of_nobody_in_the_source_are_told(data, tmp_path, capsys):
    source = tmp_path / "own" / "train"
    for index, image in enumerate(sorted((data / "synthetic-a" / "bounding_box_train").glob("*.jpg"))[:40]):
        place = source / image.name[:4] / "c1" if index < 37 else source
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, place)
    argv = ["--source", str(tmp_path / "own"), "--pretrain-identities", "2", "--output", str(tmp_path / "run")]
    assert train("torch", data, "source", *argv) == 0
    assert "3 of 40 training images have no identity: stage 1 leaves them out" in capsys.readouterr().out


def weights_file(folder, seed=0):
    """Write random weights of the smallest network under torchvision's names, with a classifier of 7 classes."""
    import torch

    network = NetworkConfig(arch="tiny")
    state = initial_state(BackboneConfig(network, 32, 16), 1, seed)
    named = {name: torch.from_numpy(value) for name, value in state.items() if not name.startswith(("neck", "class"))}
    width = next(len(value) for name, value in state.items() if name == "neck.weight")
    named |= {"fc.weight": torch.zeros(7, width), "fc.bias": torch.zeros(7)}
    torch.save(named, folder / f"weights{seed}.pth")
    return str(folder / f"weights{seed}.pth")


@pytest.fixture
def cameras(data, tmp_path):
    """A folder of one's own pictures: two cameras and no labels in the folders, all in the names."""
    folder = tmp_path / "cameras"
    for part, name in (("bounding_box_train", "train"), ("query", "query"), ("bounding_box_test", "gallery")):
        (folder / name).mkdir(parents=True)
        for image in sorted((data / "synthetic-b" / part).glob("0*.jpg")):
            shutil.copy(image, folder / name)
    (folder / "train" / "notes.txt").write_text("hello")
    return folder


PATTERN = ["--camera-pattern", r"(?P<identity>\d+)_c(?P<camera>\d+)"]


def test_anybodys_weights_adapt_to_a_folder_of_ones_own(cameras, tmp_path, capsys):
    files, here = [weights_file(tmp_path, seed) for seed in (0, 1)], tmp_path / "nothing"
    argv = ["mmt", "--target", str(cameras), "--clustering", "kmeans", "--epochs", "1", *PATTERN]
    assert train("torch", here, *argv, "--start", *files, "--output", str(tmp_path / "two")) == 0
    printed = capsys.readouterr().out
    assert "preset own-pictures" in printed
    assert "1 entries that are no images are ignored" in printed
    assert "source:" not in printed
    assert "network 1 · weights of" in printed
    summary = json.loads((tmp_path / "two/summary.json").read_text())
    names = ["as given, network 1", "as given, network 2", "epoch 1, teacher 1", "epoch 1, teacher 2"]
    assert [row["name"] for row in summary["rows"]] == names
    assert summary["rows"][0]["mean_ap"] != summary["rows"][1]["mean_ap"]
    assert summary["given_mean_ap"] == np.mean([row["mean_ap"] for row in summary["rows"][:2]])
    config = json.loads((tmp_path / "two/config.json").read_text())
    assert (config["network"]["arch"], config["run"]["start"]) == ("tiny", files)
    assert printed.count("is not used") == printed.count("--size tiny is not used") == 1
    more = ["--start", files[0], "--source", "msmt17", "--data-seed", "4", "--output", str(tmp_path / "one")]
    assert train("torch", here, *argv, *more) == 0
    one = json.loads((tmp_path / "one/summary.json").read_text())["rows"]
    assert one[0]["mean_ap"] == one[1]["mean_ap"] == summary["rows"][0]["mean_ap"]
    printed = capsys.readouterr().out
    assert "the networks start alike" in printed
    assert "--source msmt17 is not used: --start takes the place of stage 1" in printed
    assert "--data-seed 4 is not used: it is for synthetic datasets, and folder is none." in printed


def test_an_adaptation_of_given_weights_is_taken_up_again(cameras, tmp_path):
    argv = ["mmt", "--target", str(cameras), "--clustering", "kmeans", *PATTERN, "--start", weights_file(tmp_path)]
    for name, epochs in (("whole", "2"), ("parted", "1")):
        assert train("torch", tmp_path, *argv, "--output", str(tmp_path / name), "--epochs", epochs) == 0
    entry = importlib.import_module("duoreid.backends.torch.entry")
    resume = ["--resume", str(tmp_path / "parted"), "--epochs", "2"]
    assert train_command(entry.BACKEND, entry.open_data, resume) == 0
    whole, parted = (checkpoint.load(tmp_path / name / "last.safetensors")[0] for name in ("whole", "parted"))
    for name, value in whole.items():
        np.testing.assert_array_equal(value, parted[name], err_msg=name)
    rows = [json.loads((tmp_path / name / "summary.json").read_text())["rows"] for name in ("whole", "parted")]
    assert [row["name"] for row in rows[1]].count("as given, network 1") == 1
    assert rows[0][0]["mean_ap"] == rows[1][0]["mean_ap"]


def test_starts_that_cannot_be(data, cameras, tmp_path, capsys):
    file = weights_file(tmp_path)
    for words, needle in (
        (["mmt", "--start", file, file, file], "--start names 3 files, expected 1 or 2"),
        (["baseline", "--start", file, file], "--start names 2 files, expected 1"),
        (["mmt", "--start", file, "--weights", file], "takes the place of"),
        (["mmt", "--start", file, "--arch", "resnet18"], "They fit --arch tiny"),
        (["mmt", "--source", "synthetic-a", "--target", "synthetic-b,synthetic-a"], "--target names several"),
        (
            ["mmt", *PATTERN],
            "is for pictures of your own, which a path or the name `folder` stands for, and synthetic-a, ",
        ),
    ):
        assert train("torch", data, *words, "--output", str(tmp_path / "run")) == 2
        assert needle in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_two_sources_and_a_folder_without_cameras(data, cameras, tmp_path, capsys):
    """Identities by a pattern that tells no camera: the table says that own-camera matches count."""
    two = ["--source", f"synthetic-a,synthetic-b={data / 'synthetic-b'}", "--target", str(cameras)]
    argv = [*two, "--camera-pattern", r"(?P<identity>\d+)_c", "--output", str(tmp_path / "run")]
    assert train("torch", data, "source", *argv) == 0
    printed = capsys.readouterr().out
    assert "source: synthetic-a,synthetic-b," in printed
    assert "matches by the query's own camera count" in printed.split("mINP")[1]
    words = [str(tmp_path / "run/last.safetensors")]
    entry = importlib.import_module("duoreid.backends.torch.entry")
    assert evaluate_command(entry.BACKEND, entry.open_data, words) == 0
    printed = capsys.readouterr().out
    assert "matches by the query's own camera count" in printed
    assert "1 entries that are no images are ignored" in printed


def test_an_image_that_does_not_decode_is_named(data, tmp_path, capsys):
    copy = tmp_path / "data"
    shutil.copytree(data, copy, ignore=shutil.ignore_patterns("cache"))
    broken = sorted((copy / "synthetic-b" / "bounding_box_train").glob("*.jpg"))[3]
    broken.write_bytes(b"not a picture")
    assert train("torch", copy, "--output", str(tmp_path / "run")) == 2
    assert broken.name in capsys.readouterr().err


def test_help_is_fast_and_imports_no_framework():
    began = time.perf_counter()
    command = [sys.executable, "-X", "importtime", "-m", "backends.torch.train", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ)
    assert "--clusters" in done.stdout
    assert time.perf_counter() - began < 30
    imported = {line.rsplit("|")[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "mindspore", "scipy", "faiss", "PIL"}
