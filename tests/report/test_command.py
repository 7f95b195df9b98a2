"""`duoreid report`: from a checkpoint, from a run's folder, from its records alone; what it refuses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from duoreid.backends.torch.activations import activations
from duoreid.backends.torch.entry import BACKEND
from duoreid.core.commands.command import guarded
from duoreid.core.commands.report import report
from duoreid.core.settings.config import as_dict
from tests.evaluated import CONFIG, opened
from tests.report.examples import events

pytest.importorskip("jinja2")


def run(*words: object) -> int:
    status = 0

    def action() -> None:
        nonlocal status
        status = report(
            BACKEND,
            lambda name, config, trial: opened(name),
            activations,
            [str(word) for word in words],
            "duoreid report",
        )

    return guarded(action) or status


@pytest.fixture
def folder(saved, tmp_path):
    """A run's folder with networks, settings and a log."""
    shutil.copy(saved[0], tmp_path / "last.safetensors")
    settings = as_dict(CONFIG) | {"backend": {"about": "torch on a CPU"}}
    (tmp_path / "config.json").write_text(json.dumps(settings, default=list))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events()))
    return tmp_path


def test_a_run_s_folder_becomes_one_file(folder, capsys, monkeypatch):
    seen = {}

    def clustered(features, section, *, seed, epoch, eps):
        seen.update(shape=features.shape, seed=seed, epoch=epoch)
        return np.arange(len(features), dtype=np.int32) // 4, None, None

    monkeypatch.setattr("duoreid.core.methods.pseudo_labels.cluster", clustered)
    assert run(folder, "--device", "cpu") == 0
    assert capsys.readouterr().out.startswith(f"{folder / 'report.html'} (0.")
    html = (folder / "report.html").read_text()
    assert "clustered anew" in html  # the file holds no labels
    assert seen["shape"][0] == len(opened().train)
    assert "Where the network looks" in html
    assert "not finished: as far as it has come" in html
    for name in ("teacher1", "teacher2"):
        assert f"<td>{name}</td>" in html
    assert "Curves" in html


def test_a_checkpoint_needs_no_folder(saved, tmp_path):
    output = tmp_path / "pages" / "one.html"
    assert run(saved[0], "--network", "student1", "--dataset", "market1501", "-o", output, "--device", "cpu") == 0
    html = output.read_text()
    assert "market1501" in html
    assert "Curves" not in html
    assert "Ranked lists" in html


def test_the_records_alone(folder):
    (folder / "last.safetensors").unlink()
    assert run(folder, "--records-only", "-o", folder / "a.html") == 0
    html = (folder / "a.html").read_text()
    assert "Losses, mmt" in html
    assert "Ranked lists" not in html


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--map", "tsne"], "unknown --map 'tsne'"),
        (["--batch", "0"], "--batch must be at least 1"),
        (["--network", "teachr1"], "Did you mean 'teacher1'"),
    ],
)
def test_a_mistake_ends_in_one_message(folder, words, text, capsys):
    assert run(folder, *words) == 2
    assert text in capsys.readouterr().err
    assert not (folder / "report.html").exists()


def test_records_of_a_file_are_refused(saved, capsys):
    assert run(saved[0], "--records-only") == 2
    assert "needs the folder of a run" in capsys.readouterr().err
