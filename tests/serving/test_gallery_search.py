"""Searches of a gallery: exact ones, those of an approximate index, filters and thresholds; and its groups."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from duoreid import Gallery
from duoreid.core.gallery.approximate import Approximate
from tests.serving.conftest import Limit, picture


def test_finds_the_same_person_on_the_other_camera(gallery, model, cameras):
    features = model.embed(sorted((cameras / "c0").iterdir()))
    for person, hits in enumerate(gallery.search(features, k=3, not_camera="c0")):
        assert hits.identities[0] == str(person)
        assert hits.cameras == ["c1"] * 3
        assert hits.files[0] == str(cameras / "c1" / f"{person}.png")
        assert hits.accepted is None
        assert (np.diff(hits.similarities) <= 0).all()


def test_filters(gallery, model, cameras):
    query = model.embed(cameras / "c0" / "2.png")
    assert set(gallery.search(query, camera="c1")[0].cameras) == {"c1"}
    assert set(gallery.search(query, identity=[2, 3])[0].identities) == {"2", "3"}
    queries = np.repeat(query, 3, axis=0)
    all_hits = gallery.search(queries, 6, exclude_own_camera=["c0", None, "unheard of"])
    assert [set(hits.cameras) for hits in all_hits] == [{"c1"}, {"c0", "c1"}, {"c0", "c1"}]
    assert len(gallery.search(query, 5, camera="c1", identity="2")[0]) == 1
    with pytest.raises(ValueError, match=r"passes the filters.*cameras c0, c1"):
        gallery.search(query, camera="c9")
    with pytest.raises(ValueError, match="camera of each of the 1 queries"):
        gallery.search(query, exclude_own_camera=["c0", "c1"])


def test_reranking_keeps_the_cosines(gallery, model, cameras):
    query = model.embed(cameras / "c0" / "2.png")
    plain, again = gallery.search(query, 12)[0], gallery.search(query, 12, rerank=True)[0]
    assert dict(zip(plain.files, plain.similarities, strict=True)) == dict(
        zip(again.files, again.similarities, strict=True)
    )
    assert again.identities[:2] == ["2", "2"]


def test_nobody_and_only_accepted(gallery, model, cameras, tmp_path):
    stranger = model.embed(picture(tmp_path / "stranger.png", 99))
    with pytest.raises(ValueError, match=r"no threshold.*duoreid calibrate"):
        gallery.search(stranger, only_accepted=True)
    model.threshold = Limit()
    known = model.embed(cameras / "c0" / "2.png")
    assert gallery.search(known, 3)[0].accepted.tolist() == [True, True, False]
    assert not gallery.search(stranger)[0].accepted.any()
    assert len(gallery.search(known, only_accepted=True)[0]) == 2
    assert len(gallery.search(stranger, only_accepted=True)[0]) == 0


def test_an_approximate_index_has_its_recall_and_goes_stale(tmp_path, model):
    gallery = Gallery.open(tmp_path / "gallery", model)
    files = [picture(tmp_path / "many" / f"{person}.png", person) for person in range(120)]
    gallery.add(files)
    query = model.embed(files[7])
    with pytest.raises(ValueError, match="has no approximate index"):
        gallery.search(query, approximate=True)
    assert gallery.index is None
    measured = gallery.build_index(cells=4, probes=4)
    assert measured.recall == 1
    assert gallery.index == measured
    assert gallery.search(query, approximate=True)[0].files == gallery.search(query)[0].files
    assert gallery.build_index(cells=12, probes=1).recall < 1
    gallery.remove(files[3])
    assert gallery.index.stale
    with pytest.raises(ValueError, match=r"stale.*Build it again"):
        gallery.search(query, approximate=True)


def test_an_approximate_search_knows_filters(three_cameras, model, monkeypatch):
    gallery, visited = three_cameras, []
    query = np.repeat(gallery.features[20:22], 2, axis=0)
    visit = Approximate._visit
    monkeypatch.setattr(Approximate, "_visit", lambda *given: visited.append(given[3]) or visit(*given))
    gallery.build_index(cells=12, probes=4)
    for filters in (
        {"camera": "a"},
        {"not_camera": "a"},
        {"camera": "c"},
        {"identity": [20, 21, 22]},
        {"exclude_own_camera": ["a", "b", None, "c"]},
        {"exclude_own_camera": ["a", "b", None, "c"], "identity": range(60)},
    ):
        near, exact = (gallery.search(query, 8, approximate=way, **filters) for way in (True, False))
        for approximate, true in zip(near, exact, strict=True):
            assert len(approximate) == len(true), "as many hits as pass"
            assert set(approximate.cameras) <= set(true.cameras) | {"a", "b", "c"} - {filters.get("not_camera")}
            assert approximate.files[:1] == true.files[:1]
            known = dict(zip(true.files, true.similarities, strict=True))
            for file, similarity in zip(approximate.files, approximate.similarities, strict=True):
                assert similarity == pytest.approx(known.get(file, similarity), abs=1e-6)
        if "camera" in filters:
            assert {camera for hits in near for camera in hits.cameras} == {filters["camera"]}
    assert 4 in visited, "cells for the query that leaves nothing out"
    assert max(visited) < 12, "where every cell would be visited the exact search is taken"
    assert any(probes > 4 for probes in visited), "the fewer pass, the more cells"


def test_a_filtered_search_that_meets_too_few_is_exact_for_that_query(three_cameras, monkeypatch):
    gallery = three_cameras
    gallery.build_index(cells=60, probes=2)
    (hits,), (true,) = (gallery.search(gallery.features[:1], 30, camera="a", approximate=way) for way in (True, False))
    assert hits.files == true.files


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (np.full((1, 24), np.nan), "finite"),
        (np.ones((1, 24)), "L2-normalised"),
        (np.eye(3), "24 columns"),
        (np.zeros((2, 3, 4)), "shape"),
    ],
)
def test_features_that_cannot_be_searched_for(gallery, features, words):
    with pytest.raises(ValueError, match=words):
        gallery.search(features)


def test_k_beyond_the_gallery_and_an_empty_one(gallery, model, tmp_path, cameras):
    query = model.embed(cameras / "c0" / "2.png")
    assert len(gallery.search(query)[0]) == 10
    with pytest.raises(ValueError, match=r"k is 13.*12 images"):
        gallery.search(query, k=13)
    with pytest.raises(ValueError, match="k must be"):
        gallery.search(query, k=0)
    with pytest.raises(ValueError, match=r"is empty: add images"):
        Gallery.open(tmp_path / "none", model).search(query)


def test_threads_and_asyncio(gallery, model, cameras):
    files = sorted(cameras.rglob("*.png"))
    expected = gallery.search(model.embed(files), 2)

    async def ask() -> list:
        def one(file):
            return gallery.search(model.embed(file), 2)[0]

        return await asyncio.gather(*(asyncio.to_thread(one, file) for file in files))

    for own, hits in zip(asyncio.run(ask()), expected, strict=True):
        assert own.files == hits.files


def test_groups(gallery, model, tmp_path):
    groups = gallery.group(eps=0.9, min_samples=2, k1=2, k2=1)
    names = [None if label < 0 else groups.names[label] for label in groups.labels]
    assert names == gallery.identities, "identities that are known are kept"
    with pytest.raises(ValueError, match="has no threshold"):
        gallery.group(accepted=True)
    with pytest.raises(ValueError, match="groups need two"):
        Gallery.open(tmp_path / "none", model).group()
