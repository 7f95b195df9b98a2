import json

import numpy as np
import pytest

from duoreid.benchmarks import algorithms, engines, growth, restarts
from duoreid.benchmarks import search as searches
from duoreid.benchmarks.algorithms import CASES
from duoreid.benchmarks.features import clustered, query_and_gallery
from duoreid.benchmarks.measure import extra_memory, interleaved
from duoreid.benchmarks.peers import dense_jaccard
from duoreid.core.jaccard import jaccard_similarity
from duoreid.core.neighbours import nearest
from duoreid.core.rerank import rerank
from tests.core import references


def test_quick_run_covers_every_case_and_agrees_with_the_peers(tmp_path, capsys):
    file = tmp_path / "quick.json"
    assert algorithms.main(["--quick", "--no-memory", "--repeats", "1", "--output", str(file)]) == 0
    report = json.loads(file.read_text())
    assert {row["algorithm"] for row in report["rows"]} == set(CASES)
    assert report["versions"]["numpy"] == np.__version__
    assert {"commit", "processor", "cores"} <= set(report)
    agreement = " ".join(row.get("agreement", "") for row in report["rows"])
    assert "DIFFER" not in agreement
    assert "0 pairs missed" in agreement
    printed = capsys.readouterr().out
    assert printed.count("| rank_distances |") >= 1
    assert printed.splitlines()[0].startswith("| algorithm |")


def test_a_run_of_one_case_keeps_the_rows_of_the_others(tmp_path):
    file = tmp_path / "table.json"
    for commit, name in (("a", "nearest"), ("b", "kmeans"), ("c", "nearest")):
        algorithms.keep(file, name, [{"algorithm": name, "seconds": 1}] * 2, {"commit": commit, "load": 0.25})
    report = json.loads(file.read_text())
    assert [(row["algorithm"], row["commit"]) for row in report["rows"]] == [
        *[("nearest", "c")] * 2,
        *[("kmeans", "b")] * 2,
    ]
    assert report["commit"] == "c"


def test_memory_of_one_call_is_what_its_process_prints(capsys):
    assert algorithms.main(["--quick", "--memory-of", "nearest", "ours"]) == 0
    assert 0 <= int(capsys.readouterr().out) < 1 << 30


def test_extra_memory_sees_an_array():
    grown = extra_memory(lambda: np.ones(50 << 20, np.uint8).sum())
    assert 45 << 20 < grown < 80 << 20


def test_calls_run_in_turn_as_often_as_asked():
    order = []
    calls = {"ours": lambda: order.append("ours"), "peer": lambda: order.append("peer")}
    seconds, _ = interleaved(calls, {"ours": 3, "peer": 1})
    assert order == ["ours", "peer", "ours", "ours"]
    assert set(seconds) == {"ours", "peer"}


@pytest.mark.parametrize("scale", [None, "farthest"])
def test_the_published_loop_is_the_definition(scale):
    features = clustered(90, 8, width=48).features
    ranking = dense_jaccard.search(features, 13)
    np.testing.assert_array_equal(ranking, nearest(features, 13)[0])
    squared = dense_jaccard.squared_distances(features, scale=scale)
    distances = dense_jaccard.distances(squared, ranking, k1=12, k2=4)
    np.testing.assert_allclose(distances, references.jaccard(features, 12, 4, scale), atol=1e-5)
    ours = jaccard_similarity(features, k1=12, k2=4, scale=scale)
    np.testing.assert_allclose(1 - ours.toarray(), distances, atol=1e-5)


def test_the_published_reranking_is_ours():
    query, gallery = (part.features for part in query_and_gallery(30, 120, 10, width=48))
    np.testing.assert_allclose(dense_jaccard.rerank(query, gallery), rerank(query, gallery), atol=1e-5)


def test_features_are_those_of_people():
    data = clustered(2000, 120, width=64)
    np.testing.assert_allclose(np.linalg.norm(data.features, axis=1), 1, atol=1e-5)
    assert (np.diff(data.identities) >= 0).all()
    assert len(np.unique(data.identities)) == 120
    similarity = data.features @ data.features.T
    same = data.identities[:, None] == data.identities
    assert similarity[same].mean() > similarity[~same].mean() + 0.3
    np.testing.assert_array_equal(clustered(2000, 120, width=64).features, data.features)


def test_growth_measures_every_stage_and_plots(tmp_path):
    pytest.importorskip("matplotlib")
    row = growth.measure(600, 32, exact=True)
    assert {"search", "encoding", "minimum sums", "bytes", "approximate search"} <= set(row)
    assert 0.9 < row["recall"] <= 1
    assert 0.9 < row["rand, exact labels"] <= 1
    assert "search" not in growth.measure(200, 32, exact=False)
    report = {"commit": "0", "cores": 1, "processor": "any", "width": 32, "rows": [row]}
    growth.plot(report, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 1000


def test_a_size_of_growth_keeps_the_others_of_its_width(tmp_path):
    file = tmp_path / "growth.json"
    for points, commit in ((20, "a"), (10, "b"), (20, "c")):
        growth.keep(file, {"points": points}, {"width": 8, "commit": commit})
    rows = json.loads(file.read_text())["rows"]
    assert rows == [{"points": 10, "commit": "b"}, {"points": 20, "commit": "c"}]
    assert growth.keep(file, {"points": 5}, {"width": 9, "commit": "d"})["rows"] == [{"points": 5, "commit": "d"}]


def test_engines_agree_up_to_ties_and_no_further():
    """Two gallery images as similar to the query within a tie may change places; farther ones may not."""
    query, far = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]])
    near = np.array([[np.cos(angle), np.sin(angle)] for angle in (0.1, 0.1 + 1e-5)])
    rest = np.repeat([[-1.0, 0.0]], 10, axis=0)
    first = np.concatenate([query, near, far, rest]).astype(np.float32)
    second = first[[0, 2, 1, *range(3, 14)]]
    rows = np.array([0]), np.arange(1, 14)
    alike = engines.compared(first, first, *rows)
    assert (alike["same"], alike["tied"], alike["other"], alike["gap"]) == (1, 0, 0, 0)
    tied = engines.compared(first, second, *rows)
    assert (tied["same"], tied["tied"], tied["other"]) == (0, 1, 0)
    assert 0 < tied["gap"] < engines.TIE
    apart = engines.compared(first, first[[0, 3, 2, 1, *range(4, 14)]], *rows)
    assert (apart["same"], apart["tied"], apart["other"]) == (0, 0, 1)


def test_a_size_of_searches_keeps_the_others(tmp_path):
    file = tmp_path / "search.json"
    for rows, threads, mark in ((1000, 2, "a"), (10, 1, "b"), (10, 2, "c"), (10, 1, "d")):
        searches.keep(file, {"rows": rows, "threads": threads, "mark": mark})
    assert [one["mark"] for one in json.loads(file.read_text())["results"]] == ["d", "c", "a"]


def test_several_starts_of_kmeans_are_compared_with_the_first_of_them():
    features = clustered(300, 20, width=16)
    comparison = restarts.compared(features.features, features.identities, 20, 4, range(2))
    assert [len(rows) for rows in comparison["starts"].values()] == [2, 2]
    assert all(change <= 1e-9 for change in comparison["changes"]["inertia"]), "the first start is one of them"
    for one, many, change in zip(*comparison["starts"].values(), comparison["changes"]["adjusted_rand"], strict=True):
        assert many["adjusted_rand"] - one["adjusted_rand"] == change
    assert "ARI, 4" in restarts.text({"a model": comparison}, 4)
