"""mvd from the shell: small whole runs in both layouts, going on, and data that cannot be used."""

import importlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.commands import evaluate as evaluation
from duoreid.core.commands.command import train as train_command
from duoreid.datasets.synthetic import generate
from tests.tolerances import check_close

SMALL = [
    "mvd", "--size", "tiny", "--height", "32", "--width", "16", "--epochs", "2", "--iterations", "2", "--identities",
    "4", "--images", "2", "--representation", "16", "--milestones", "--evaluate-every", "2", "--threads", "1",
]  # fmt: skip


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with both synthetic visible-infrared sets at their smallest."""
    folder = tmp_path_factory.mktemp("cross-modal")
    for name in ("synthetic-regdb", "synthetic-sysu"):
        generate(name, folder, size="tiny", progress=False)
    return folder


def train(backend, data, *argv):
    """Run in this process; returns the exit status."""
    entry = importlib.import_module(f"duoreid.backends.{backend}.entry")
    return train_command(entry.BACKEND, entry.open_data, [*SMALL, "--data", str(data), *argv])


def test_a_model_for_each_trial_and_a_table_of_both_directions(data, tmp_path, capsys):
    assert train("torch", data, "--output", str(tmp_path / "run"), "--trials", "1", "3", "--cml", "1") == 0
    printed = capsys.readouterr().out
    for words in (
        "mvd, synthetic-regdb",
        "visible to thermal",
        "thermal to visible",
        "±",
        "rank-20",
        "mINP",
        "whole run",
    ):
        assert words in printed
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [search["name"] for search in summary["searches"]] == ["visible to thermal", "thermal to visible"]
    for search in summary["searches"]:
        values = [trial["mean_ap"] for trial in search["trials"]]
        assert len(values) == 2
        assert search["mean"]["mean_ap"] == pytest.approx(np.mean(values))
        assert search["spread"]["mean_ap"] == pytest.approx(np.std(values, ddof=1))
    for trial in (1, 3):
        state, metadata = checkpoint.load(tmp_path / "run" / f"trial-{trial}.safetensors")
        assert (metadata["trial"], metadata["epoch"], metadata["config"]["method"]) == (trial, 2, "mvd")
        assert state["adam.step"] == 4
        assert state["classes"] == 8
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = next(line["losses"] for line in lines if line["event"] == "epoch")
    assert losses.keys() == {"id", "metric", "cml", "vsd", "vcd", "vml", "total"}


def test_one_split_whose_gallery_is_drawn_ten_times(data, tmp_path, capsys):
    argv = ["--dataset", "synthetic-sysu", "--search", "indoor", "--objective", "id+tri", "--optimiser", "sgd"]
    assert train("torch", data, "--output", str(tmp_path / "run"), *argv, "--metric", "centre") == 0
    printed = capsys.readouterr().out
    assert "indoor, single-shot" in printed
    assert "all, single-shot" not in printed
    assert "made from a seed" in printed
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [len(search["trials"]) for search in summary["searches"]] == [10, 10]
    assert (tmp_path / "run" / "mvd.safetensors").exists()


@pytest.mark.long
def test_a_run_goes_on_as_if_it_had_never_stopped(data, tmp_path, capsys):
    run, straight = tmp_path / "run", tmp_path / "straight"
    assert train("torch", data, "--output", str(straight), "--trials", "2") == 0
    assert train("torch", data, "--output", str(run), "--trials", "2", "--epochs", "1") == 0
    entry = importlib.import_module("duoreid.backends.torch.entry")
    argv = ["--resume", str(run), "--epochs", "2", "--threads", "1"]
    assert train_command(entry.BACKEND, entry.open_data, argv) == 0
    state, expected = (checkpoint.load(folder / "mvd.safetensors")[0] for folder in (run, straight))
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value, err_msg=name)


SHORT = ["--trials", "2", "--loss-every", "1"]


def resume(backend, run, *argv):
    """Go on with a run; returns the exit status."""
    entry = importlib.import_module(f"duoreid.backends.{backend}.entry")
    return train_command(
        entry.BACKEND, entry.open_data, ["--resume", str(run), "--epochs", "2", "--threads", "1", *argv]
    )


def epochs_of(run):
    """(backend, losses) of each epoch that was logged."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["backend"], line["losses"]) for line in lines if line["event"] == "epoch"]


@pytest.mark.long
def test_mindspore_goes_on_with_a_run_of_torch(data, tmp_path, capsys, elsewhere, shallow):
    """Compiled, in float32; the table at its end is that of `evaluate` on its checkpoint."""
    run, straight = tmp_path / "run", tmp_path / "straight"
    words = [*SHORT, "--rate", "1e-4"]
    assert train("torch", data, "--output", str(straight), *words) == 0
    assert train("torch", data, "--output", str(run), *words, "--epochs", "1") == 0
    assert resume("mindspore", run) == 0
    assert "thermal to visible" in capsys.readouterr().out
    assert epochs_of(run)[1][0] == "mindspore"
    (_, losses), (_, expected) = epochs_of(run)[1], epochs_of(straight)[1]
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        check_close("mvd.ten_steps.float32", losses[name], value, scale=expected["total"], what=name)
    state, _ = checkpoint.load(run / "mvd.safetensors")
    assert state["adam.step"] == 4
    results = json.loads((run / "summary.json").read_text())["searches"]
    entry = importlib.import_module("duoreid.backends.torch.entry")
    argv = [str(run / "mvd.safetensors"), "--data", str(data), "--json"]
    assert evaluation.evaluate(entry.BACKEND, entry.open_data, argv) == 0
    again = json.loads(capsys.readouterr().out)["results"]
    for one, two in zip(results, again, strict=True):
        assert two["mean"]["mean_ap"] == pytest.approx(one["mean"]["mean_ap"], abs=1e-3)


@pytest.mark.long
def test_mindspore_alone_without_compilation(data, tmp_path, capsys, elsewhere, shallow):
    """From the start, and on from the end of an epoch, bitwise."""
    words = [
        *SHORT, "--iterations", "1", "--mode", "pynative", "--save-every", "1", "--metric", "triplet", "--cml", "0",
    ]  # fmt: skip
    assert train("mindspore", data, "--output", str(tmp_path / "straight"), *words) == 0
    assert "visible to thermal" in capsys.readouterr().out
    assert train("mindspore", data, "--output", str(tmp_path / "run"), *words, "--epochs", "1") == 0
    assert resume("mindspore", tmp_path / "run", "--mode", "pynative") == 0
    state, expected = (checkpoint.load(tmp_path / name / "mvd.safetensors")[0] for name in ("run", "straight"))
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value, err_msg=name)


def test_several_trials_cannot_be_extended(data, tmp_path, capsys):
    assert train("torch", data, "--output", str(tmp_path / "run"), "--trials", "1", "2", "--epochs", "1") == 0
    entry = importlib.import_module("duoreid.backends.torch.entry")
    argv = ["--resume", str(tmp_path / "run"), "--epochs", "2", "--threads", "1"]
    assert train_command(entry.BACKEND, entry.open_data, argv) == 2
    assert "only a run of one trial can be extended" in capsys.readouterr().err


def test_every_branch_starts_from_given_weights(data, tmp_path, capsys):
    assert train("torch", data, "--output", str(tmp_path / "first"), "--trials", "1", "--epochs", "1") == 0
    state, _ = checkpoint.load(tmp_path / "first" / "mvd.safetensors")
    backbone = {
        name.removeprefix("shared."): value
        for name, value in state.items()
        if name.startswith("shared.") and not name.startswith(("shared.bottleneck", "shared.neck", "shared.classifier"))
    }
    from safetensors.numpy import save_file

    save_file(backbone, tmp_path / "backbone.safetensors")
    argv = ["--weights", str(tmp_path / "backbone.safetensors"), "--rate", "1e-12", "--weight-decay", "0"]
    assert train("torch", data, "--output", str(tmp_path / "second"), "--trials", "1", *argv) == 0
    assert "every branch · weights of" in capsys.readouterr().out
    again, _ = checkpoint.load(tmp_path / "second" / "mvd.safetensors")
    for role in ("visible", "infrared", "shared"):
        np.testing.assert_allclose(again[f"{role}.conv1.weight"], backbone["conv1.weight"], atol=1e-9)


# Data that needs care


@pytest.fixture
def regdb(data, tmp_path):
    """A copy in RegDB's own name, to be damaged."""
    shutil.copytree(data / "synthetic-regdb", tmp_path / "data" / "RegDB")
    return tmp_path / "data" / "RegDB"


def trained_on(folder):
    """(file, label) of the first thermal training image of trial 1."""
    path, label = (folder / "idx" / "train_thermal_1.txt").read_text().splitlines()[0].split()
    return folder / path, label


def test_a_person_in_one_modality_is_left_out_and_named(regdb, tmp_path, capsys):
    _, label = trained_on(regdb)
    lines = (regdb / "idx" / "train_thermal_1.txt").read_text().splitlines()
    kept = [line for line in lines if line.split()[1] != label]
    assert 0 < len(kept) < len(lines)
    (regdb / "idx" / "train_thermal_1.txt").write_text("\n".join(kept) + "\n")
    argv = ["--dataset", "regdb", "--trials", "1", "--epochs", "1"]
    assert train("torch", regdb.parent, "--output", str(tmp_path / "run"), *argv) == 0
    printed = capsys.readouterr().out
    assert f"left out of training, since only visible images show them: 1 ({label})" in printed
    assert "7 identities" in printed


def test_infrared_images_stored_in_colour_are_read(regdb, tmp_path):
    file, _ = trained_on(regdb)
    Image.open(file).convert("RGB").save(file, "PNG")
    argv = ["--dataset", "regdb", "--trials", "1", "--epochs", "1"]
    assert train("torch", regdb.parent, "--output", str(tmp_path / "run"), *argv) == 0


def test_infrared_images_of_16_bits_are_refused_by_name(regdb, tmp_path, capsys):
    file, _ = trained_on(regdb)
    Image.fromarray(np.full((64, 32), 3000, np.uint16)).save(file, "PNG")
    argv = ["--dataset", "regdb", "--trials", "1"]
    assert train("torch", regdb.parent, "--output", str(tmp_path / "run"), *argv) == 2
    message = capsys.readouterr().err
    assert file.name in message
    assert "more than 8 bits" in message


@pytest.mark.parametrize(
    ("argv", "needles"),
    [
        (["--trials", "11"], ["trial 11", "1 to 10"]),
        (["--trials", "1", "1"], ["--trials", "different"]),
        (["--trials"], ["--trials", "one or more"]),
        (["--search", "indoor"], ["--search indoor", "visible to thermal"]),
        (["--dataset", "synthetic-a"], ["no labelled infrared"]),
        (["--dataset", "synthetic-sisu"], ["synthetic-sysu"]),
        (["--identities", "64"], ["64 identities", "only 8"]),
        (["--decay", "log-linear", "--decay-start", "30"], ["decay_start 30"]),
        (["--rate", "1e30"], ["diverged"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else None,
)
def test_a_mistake_ends_in_one_message(data, tmp_path, capsys, argv, needles):
    refused("torch", data, tmp_path, capsys, argv, needles)


def test_a_diverging_run_of_mindspore_ends_in_one_message(data, tmp_path, capsys, elsewhere, shallow):
    words = [*SHORT, "--mode", "pynative", "--rate", "1e30", "--objective", "id"]
    refused("mindspore", data, tmp_path, capsys, words, ["diverged"])


def refused(backend, data, tmp_path, capsys, argv, needles):
    """The run ends with status 2 and a message with these words."""
    assert train(backend, data, "--output", str(tmp_path / "run"), *argv) == 2
    message = capsys.readouterr().err
    assert "error: " in message
    assert "Traceback" not in message
    for needle in needles:
        assert needle in message
