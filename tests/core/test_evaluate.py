import json
import subprocess
import sys

import numpy as np
import pytest

from duoreid.core.commands.score import ARRAYS, main
from duoreid.core.ranking import rank, rank_distances
from duoreid.core.rerank import rerank
from tests.core.features import clustered


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    features, member = clustered(random, 150, 10)
    cameras = random.integers(4, size=150)
    values = features[:40], features[40:], member[:40], member[40:], cameras[:40], cameras[40:]
    return dict(zip(ARRAYS, values, strict=True))


@pytest.fixture
def file(arrays, tmp_path):
    np.savez(tmp_path / "features.npz", **arrays)
    return str(tmp_path / "features.npz")


def test_json_holds_the_scores_of_rank(arrays, file, capsys):
    assert main([file, "--json", "--max-rank", "7"]) == 0
    scores = json.loads(capsys.readouterr().out)
    expected = rank(*arrays.values(), max_rank=7)
    assert scores["mAP"] == expected.mean_ap
    assert scores["mINP"] == expected.mean_inp
    assert scores["cmc"] == expected.cmc.tolist()
    assert scores["rank-5"] == expected.cmc[4]
    assert "rank-10" not in scores
    assert scores["valid_queries"] == expected.valid_queries


def test_rerank(arrays, file, capsys):
    main([file, "--json", "--rerank"])
    query, gallery, *labels = arrays.values()
    expected = rank_distances(rerank(query, gallery), *labels)
    assert json.loads(capsys.readouterr().out)["mAP"] == pytest.approx(expected.mean_ap, rel=1e-12)


def test_runs_from_the_shell_and_prints_a_table(arrays, file):
    done = subprocess.run([sys.executable, "-m", "core.evaluate", file], capture_output=True, text=True, check=True)
    names, values, note = done.stdout.splitlines()
    assert names.split() == ["mAP", "mINP", "rank-1", "rank-5", "rank-10", "rank-20"]
    assert values.split()[0] == f"{100 * rank(*arrays.values()).mean_ap:.2f}"
    assert note == "40 of 40 queries have a match"


def test_no_query_with_a_match(arrays, file, tmp_path, capsys):
    np.savez(file, **arrays | {"query_ids": np.full(40, 99)})
    main([file, "--json"])
    scores = json.loads(capsys.readouterr().out)
    assert scores["mAP"] is None
    assert scores["valid_queries"] == 0


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_refusals_are_messages(arrays, file, tmp_path, capsys):
    np.savez(tmp_path / "less.npz", query=arrays["query"])
    assert "lacks gallery, query_ids" in refusal(capsys, str(tmp_path / "less.npz"))
    np.save(tmp_path / "one.npy", np.zeros(3))
    assert "single array" in refusal(capsys, str(tmp_path / "one.npy"))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not a zip")
    assert "error:" in refusal(capsys, str(tmp_path / "broken.npz"))
    assert "No such file" in refusal(capsys, str(tmp_path / "none.npz"))
    assert "--metric" in refusal(capsys, file, "--rerank", "--metric", "euclidean")
    np.savez(tmp_path / "nan.npz", **arrays | {"query": np.full((40, 24), np.nan)})
    for wrong, told in (
        ({"ignore": np.array("same-plaice")}, "Did you mean 'same-place'"),
        ({"ignore": np.array(["nothing"])}, "ignore must be one of"),
        ({"distinct_identities": np.array(2)}, "distinct_identities must be true or false"),
    ):
        np.savez(tmp_path / "rule.npz", **arrays | wrong)
        assert told in refusal(capsys, str(tmp_path / "rule.npz"))
    assert "query must be finite" in refusal(capsys, str(tmp_path / "nan.npz"))


def test_one_camera_is_refused_with_its_reason(arrays, tmp_path, capsys):
    one = arrays | {"query_cameras": np.ones(40, int), "gallery_cameras": np.ones(110, int)}
    np.savez(tmp_path / "one.npz", **one)
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path / "one.npz")])
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert "by their own camera alone" in message
    assert "ignore = 'nothing'" in message
    np.savez(tmp_path / "all.npz", **one, ignore="nothing")
    assert main([str(tmp_path / "all.npz")]) == 0
