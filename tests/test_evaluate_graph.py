"""The evaluate command on exported graphs, which need no framework."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duoreid import cli
from duoreid.backends.torch import export as exporting
from duoreid.benchmarks.measure import inherited
from duoreid.core.commands import evaluate_onnx
from duoreid.core.data import OpenData
from duoreid.core.serving import description, engines
from tests.datasets import trees
from tests.evaluated import HEIGHT, WIDTH, opened, run


@pytest.fixture(scope="module")
def graph(saved, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first teacher, exported for onnxruntime."""
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("graph") / "teacher1.onnx"
    assert exporting.main([str(saved[0]), "--format", "onnx", "--output", str(path)]) == 0
    return path


def run_graph(argv: list, data: OpenData) -> int:
    return evaluate_onnx.main(lambda name, config, trial: data, [str(word) for word in argv])


def test_a_graph_has_the_table_of_its_checkpoint(saved, graph, tmp_path, capsys):
    data, tables = opened(trials=2), []
    for test, path in ((run, saved[0]), (run_graph, graph)):
        capsys.readouterr()
        words = [path, "--dataset", "dukemtmc", "--device", "cpu", "--batch", 7, "--json"]
        assert test([*words, *(["--network", "teacher1"] if test is run else [])], data) == 0
        tables.append(json.loads(capsys.readouterr().out))
    ours, theirs = (one["results"][0] for one in tables)
    assert theirs["network"] == ours["network"] == "teacher1"
    for name, value in ours["mean"].items():
        np.testing.assert_allclose(theirs["mean"][name], value, atol=1e-6, err_msg=name)
    assert tables[1]["images"] == [HEIGHT, WIDTH]
    assert tables[1]["on"].startswith("onnxruntime")
    assert run_graph([graph, "--dataset", "dukemtmc", "--rerank", "--save-features", tmp_path / "f.npz"], data) == 0
    assert re.search(r"teacher1 +test +2 +\d", capsys.readouterr().out)
    with np.load(tmp_path / "f-test-1.npz") as file:
        assert file["query"].shape[1] == 256


def test_a_graph_needs_no_framework(graph, tmp_path):
    """Not even to be imported, in a process of its own that has neither."""
    root = trees.TREES["market1501"](tmp_path / "market1501")
    words = ["evaluate", str(graph), "--dataset", f"market1501={root}", "--no-cache"]
    without = "import sys; sys.modules.update(torch=None, mindspore=None); from duoreid import cli"
    code = f"{without}; sys.exit(cli.main({words}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=inherited())
    assert done.returncode == 0, done.stderr
    assert "on market1501, images 64x32 · onnxruntime" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "does not say what it was trained for: give --dataset"),
        (["--dataset", "dukemtmc", "--batch", 0], "--batch must be at least 1"),
        (["--dataset", "dukemtmc", "--height", 128, "--arch", "tiny"], "says what --arch, --height would"),
        (["--dataset", "dukemtmc", "--device", "cuda"], "this onnxruntime has"),
        (["--dataset", "dukemtmc", "--device", "gpu"], "invalid choice"),
        (["--dataset", "dukemtmc", "--threads", -1], "threads must be at least 0"),
    ],
)
def test_what_a_graph_answers_itself_or_cannot_do_is_refused(graph, words, message, capsys):
    assert run_graph([graph, *words], opened()) == 2
    assert message in capsys.readouterr().err


def test_a_graph_that_does_not_say_its_split_needs_one(graph, capsys):
    data = opened("regdb", ignore="nothing", trial=4)
    assert run_graph([graph, "--dataset", "regdb"], data) == 2
    assert "give --trial, or export it again" in capsys.readouterr().err
    assert run_graph([graph, "--dataset", "regdb", "--trial", 4], data) == 0
    known = description.from_texts(description.as_texts(replace(engines.OnnxEngine(graph).description, trial=4)), "x")
    assert known.trial == 4


def test_a_graph_of_another_program_or_for_a_backend_is_refused(graph, tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    made = onnx.load(str(graph))
    del made.metadata_props[:]
    onnx.save(made, str(tmp_path / "bare.onnx"))
    assert run_graph([tmp_path / "bare.onnx", "--dataset", "dukemtmc"], opened()) == 2
    assert "does not say how its images are prepared" in capsys.readouterr().err
    assert run_graph([tmp_path / "absent.onnx", "--dataset", "dukemtmc"], opened()) == 2
    assert "is not there" in capsys.readouterr().err
    assert run([graph], opened()) == 2
    assert f"duoreid evaluate {graph}" in capsys.readouterr().err
    assert cli.main(["evaluate", str(graph), "--backend", "torch"]) == 2
    assert "leave --backend torch out" in capsys.readouterr().err
