"""Features of others: .mat files as the field writes them, read within bounds, against SciPy's reader and writer."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix

from duoreid.core.checkpoints.formats import guard, mat
from duoreid.core.commands.feature_files import ARRAYS, read
from duoreid.core.commands.score import main
from duoreid.core.errors import UserError
from duoreid.core.ranking import rank
from tests.core.features import clustered


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    features, member = clustered(random, 90, 8)
    cameras = random.integers(4, size=90)
    values = features[:30], features[30:], member[:30], member[30:], cameras[:30], cameras[30:]
    return dict(zip(ARRAYS, values, strict=True))


NAMES = {
    "layumi": ("query_f", "gallery_f", "query_label", "gallery_label", "query_cam", "gallery_cam"),
    "torchreid": ("qf", "gf", "q_pids", "g_pids", "q_camids", "g_camids"),
    "ours": ARRAYS,
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("kind", ["mat", "compressed mat", "doubles", "npz"])
def test_the_usual_names_score_as_ours(arrays, names, kind, tmp_path, capsys):
    given = dict(zip(names, arrays.values(), strict=True))
    if kind == "npz":
        np.savez(path := tmp_path / "result.npz", **given)
    else:
        if kind == "doubles":
            given = {name: value.astype(np.float64) for name, value in given.items()}
        savemat(path := tmp_path / "result.mat", given | {"note": "text"}, do_compression=kind == "compressed mat")
    assert main([str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mAP"] == rank(*arrays.values()).mean_ap


def test_features_in_columns_are_turned(arrays, tmp_path):
    given = dict(zip(NAMES["layumi"], arrays.values(), strict=True))
    turned = {name: value.T if name.endswith("_f") else value for name, value in given.items()}
    savemat(tmp_path / "result.mat", turned)
    np.testing.assert_array_equal(read(str(tmp_path / "result.mat"))["gallery"], arrays["gallery"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"query_label": np.array([0.5] * 30)}, "query_label must hold whole numbers"),
        ({"query_label": np.ones((5, 6))}, r"query_label must be one row of numbers, but is float64 of shape \(5, 6\)"),
        ({"query_f": csc_matrix(np.eye(30))}, "'query_f' is a sparse array"),
        ({"query_f": {"a": 1}}, "'query_f' is a struct"),
        ({"query_f": np.ones((30, 4)) * 1j}, "'query_f' is complex"),
        ({"query_label": "text"}, "'query_label' is text"),
        ({"q_pids": np.ones(30)}, "holds query_ids twice, once as"),
    ],
)
def test_what_cannot_be_scored_is_named_with_its_file(arrays, tmp_path, changed, words):
    savemat(tmp_path / "result.mat", dict(zip(NAMES["layumi"], arrays.values(), strict=True)) | changed)
    with pytest.raises(UserError, match=rf"result\.mat[\s\S]*{words}"):
        read(str(tmp_path / "result.mat"))


def test_matlab_7_3_is_named(tmp_path):
    (tmp_path / "x.mat").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    with pytest.raises(UserError, match=r"x\.mat cannot be read .*version 7\.3, an HDF5 file: save it with -v7"):
        read(str(tmp_path / "x.mat"))


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_and_cells_are_those_of_scipy(tmp_path, compressed):
    random = np.random.default_rng(1)
    cells = np.empty((2, 2), object)
    cells[0, 0], cells[1, 0], cells[0, 1], cells[1, 1] = (
        np.eye(3),
        np.ones((2, 4), np.uint16),
        cells[:1, :1],
        np.zeros(0),
    )
    given = {
        "doubles": random.standard_normal((3, 4)),
        "singles": random.standard_normal((2, 3, 4)).astype(np.float32),
        **{f"n{kind}": random.integers(0, 100, (4, 3)).astype(kind) for kind in ("i1", "u1", "i2", "u2", "i4", "u4")},
        "a_name_longer_than_four": np.arange(3),
        "one": 5,
        "cells": cells,
    }
    savemat(tmp_path / "x.mat", given, do_compression=compressed)
    variables, expected = mat.read(tmp_path / "x.mat"), loadmat(tmp_path / "x.mat")
    assert variables.keys() == given.keys()
    for name, value in variables.items():
        if name != "cells":
            np.testing.assert_array_equal(value, expected[name], err_msg=name)
    np.testing.assert_array_equal(variables["cells"][0, 0], np.eye(3))
    np.testing.assert_array_equal(variables["cells"][1, 0], np.ones((2, 4)))


def test_what_is_compressed_may_not_unfold_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "MOST_NUMBERS", 4 << 20)
    whole = tmp_path / "x.mat"
    savemat(whole, {"a": np.zeros(4)})
    head = whole.read_bytes()[:128]
    block = zlib.compress(bytes(16 << 20), 9)
    whole.write_bytes(head + np.array([15, len(block)], "<u4").tobytes() + block)
    with pytest.raises(UserError, match=r"x\.mat .*bytes of numbers, more than"):
        mat.read(whole)
