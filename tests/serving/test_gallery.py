"""A gallery on disk: added to, searched, checked; killed and refused."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duoreid import Gallery
from duoreid.core.errors import UserError
from duoreid.core.gallery import compacting, store
from duoreid.core.gallery.approximate import Approximate
from duoreid.core.gallery.layout import COMMIT, FEATURES, RECORD, About, Commit
from duoreid.core.gallery.view import View
from duoreid.core.locking import MARK, NoLocksError
from tests.serving.conftest import PATTERN, picture, plain_model


@pytest.fixture
def gallery(tmp_path, model, cameras) -> Gallery:
    made = Gallery.open(tmp_path / "gallery", model)
    made.add(cameras, pattern=PATTERN)
    return made


def test_finds_the_same_person_on_the_other_camera(gallery, model, cameras):
    features = model.embed(sorted((cameras / "c0").iterdir()))
    for person, hits in enumerate(gallery.search(features, k=3, not_camera="c0")):
        assert hits.identities[0] == str(person)
        assert hits.cameras == ["c1"] * 3
        assert hits.files[0] == str(cameras / "c1" / f"{person}.png")
        assert hits.accepted is None
        assert (np.diff(hits.similarities) <= 0).all()


def test_a_second_add_decodes_nothing(gallery, model, cameras):
    before = model.pictures.decoded
    assert before == 12
    done = gallery.add(cameras, pattern=PATTERN)
    assert model.pictures.decoded == before
    assert (done.added, done.unchanged, done.decoded) == (0, 12, 0)
    again = Gallery.open(gallery.folder, model)
    assert len(again) == 12
    again.add(picture(cameras / "c2" / "7.png", 7))
    assert model.pictures.decoded == before + 1
    assert len(gallery) == 13, "what another one has added is seen"


def test_a_changed_file_is_embedded_again_and_a_touched_one_is_not(gallery, model, cameras):
    before = model.pictures.decoded
    os.utime(cameras / "c0" / "0.png", ns=(1, 1))
    assert gallery.check().changed == (str(cameras / "c0" / "0.png"),)
    assert gallery.add(cameras, pattern=PATTERN).unchanged == 12
    assert model.pictures.decoded == before
    picture(cameras / "c0" / "0.png", 5, noise=9)
    done = gallery.add(cameras, pattern=PATTERN)
    assert (done.added, done.changed, done.decoded) == (0, 1, 1)
    assert len(gallery) == 12
    assert sorted(gallery.files) == sorted(map(str, cameras.rglob("*.png")))
    (hits,) = gallery.search(model.embed(cameras / "c0" / "5.png"), k=3)
    assert str(cameras / "c0" / "0.png") in hits.files
    assert gallery.check()


def test_a_vanished_file_is_told_and_can_be_removed(gallery, cameras):
    gone = cameras / "c0" / "3.png"
    gone.unlink()
    assert gallery.add(cameras).vanished == (str(gone),)
    assert gallery.check().vanished == (str(gone),)
    assert "1 vanished" in str(gallery.check())
    assert len(gallery) == 12
    assert gallery.remove(gone) == 1
    assert len(gallery) == len(gallery.features) == 11
    assert str(gone) not in gallery.files
    assert gallery.check()
    with pytest.raises(ValueError, match=r"not in the gallery.*nothing was removed"):
        gallery.remove([cameras / "c0" / "2.png", gone])
    assert len(gallery) == 11


def test_broken_pictures_are_named_and_the_others_stay(tmp_path, model, cameras):
    (cameras / "c0" / "empty.jpg").touch()
    (cameras / "c0" / "notes.txt").write_text("no image")
    gallery = Gallery.open(tmp_path / "gallery", model)
    done = gallery.add(cameras, batch_size=5)
    assert (done.added, done.decoded, done.ignored) == (12, 12, 1)
    ((file, why),) = done.broken
    assert file.endswith("empty.jpg")
    assert "empty" in why
    assert "left out" in str(done)


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


def test_times_come_from_a_csv(tmp_path, model, cameras):
    index = cameras / "index.csv"
    index.write_text("path,camera,time\nc0/0.png,c0,1970-01-02\nc0/1.png,c0,172800\nc1/1.png,c1,\n")
    gallery = Gallery.open(tmp_path / "gallery", model)
    gallery.add(index)
    assert gallery.times.tolist()[:2] == [86400, 172800]
    query = model.embed(cameras / "c0" / "1.png")
    assert gallery.search(query, time_from=86401)[0].files == [str(cameras / "c0" / "1.png")]
    assert gallery.search(query, time_to=86400)[0].files == [str(cameras / "c0" / "0.png")]


def test_labels_beside_a_list(tmp_path, model, cameras):
    gallery = Gallery.open(tmp_path / "gallery", model)
    files = sorted((cameras / "c0").iterdir())
    gallery.add(files, identities=range(6), cameras=["x"] * 6, times=[float(place) for place in range(6)])
    assert gallery.identities == list("012345")
    assert gallery.cameras == ["x"] * 6
    with pytest.raises(ValueError, match="one for each of the 6 images"):
        gallery.add(files, identities=[1])


def test_reranking_keeps_the_cosines(gallery, model, cameras):
    query = model.embed(cameras / "c0" / "2.png")
    plain, again = gallery.search(query, 12)[0], gallery.search(query, 12, rerank=True)[0]
    assert dict(zip(plain.files, plain.similarities, strict=True)) == dict(
        zip(again.files, again.similarities, strict=True)
    )
    assert again.identities[:2] == ["2", "2"]


def test_float16_takes_half_the_room_and_finds_the_same(tmp_path, model, cameras, gallery):
    half = Gallery.open(tmp_path / "half", model, numbers="float16")
    half.add(cameras, pattern=PATTERN)
    assert half.features.dtype == np.float16
    assert (half.folder / FEATURES).stat().st_size * 2 == (gallery.folder / FEATURES).stat().st_size
    query = model.embed(cameras / "c0" / "2.png")
    hits, exact = half.search(query, 12)[0], gallery.search(query, 12)[0]
    assert set(hits.files[:2]) == set(exact.files[:2])  # two pictures of one person, some 1e-3 apart
    np.testing.assert_allclose(hits.similarities, exact.similarities, atol=1e-3)
    again = Gallery.open(tmp_path / "half", model)
    assert again.features.dtype == np.float16, "what stands there keeps its type"
    assert half.check()


class Limit:
    """A threshold as core/openset.py has it."""

    def at(self, gallery_size: int) -> float:
        return 0.98


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


@pytest.fixture
def three_cameras(tmp_path, model) -> Gallery:
    """130 pictures before three cameras, ten of them before the last, without two in the middle."""
    gallery = Gallery.open(tmp_path / "gallery", model)
    files = [picture(tmp_path / "many" / f"{person}.png", person) for person in range(130)]
    gallery.add(files, cameras=["a", "b"] * 60 + ["c"] * 10, identities=range(130))
    gallery.remove([str(files[7]), str(files[8])])
    return gallery


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


def test_compaction_gives_the_room_back(three_cameras, model):
    gallery = three_cameras
    gallery.build_index()
    before, features = gallery.files, gallery.features.copy()
    labels = gallery.identities, gallery.cameras
    mapped = Gallery.open(gallery.folder, model).view  # of another process, say
    assert gallery.compact() == 2
    assert gallery.compact() == 0
    for again in (gallery, Gallery.open(gallery.folder, model)):
        assert again.files == before
        assert (again.identities, again.cameras) == labels
        np.testing.assert_array_equal(again.features, features)
        assert again.check()
    assert len(gallery.view.identities) == 128, "names that nobody has are gone"
    np.testing.assert_array_equal(mapped.features[mapped.rows], features)
    assert {path.name for path in gallery.folder.glob("features*")} == {"features-1.bin"}
    assert (gallery.folder / "features-1.bin").stat().st_size == features.nbytes
    assert json.loads((gallery.folder / "gallery.json").read_text())["format"] == 2
    assert gallery.index.stale, "rows have other numbers"
    gallery.remove(before[:3])
    done = gallery.add(before[:2] + before[5:6], identities=["x", "y", "z"])
    assert (done.added, done.unchanged) == (2, 1)
    assert gallery.files == before[3:] + before[:2]
    assert gallery.identities[-2:] == ["x", "y"]
    assert gallery.compact() == 3
    assert gallery.files == before[3:] + before[:2]
    assert gallery.check()


def test_an_index_of_as_many_rows_is_stale_after_a_compaction(three_cameras):
    """Row numbers decide: as many rows and images as when it was built are not the same ones."""
    gallery = three_cameras
    gallery.compact()
    gallery.build_index()
    files = gallery.files
    gallery.remove(files[:1])
    gallery.add(files[:1])
    gallery.compact()
    assert gallery.index.stale


def test_a_gallery_of_mostly_removed_rows_compacts_itself(three_cameras, monkeypatch):
    gallery = three_cameras
    monkeypatch.setattr(compacting, "LEAST", 60)
    gallery.remove(gallery.files[:50])
    assert gallery.view.commit.generation == 0
    gallery.remove(gallery.files[:20])
    assert gallery.view.commit.generation == 1
    assert len(gallery.view.features) == len(gallery) == 58
    assert gallery.check()


def killed_at(place, patch, compact) -> bool:
    """Compact a gallery and stop before the step `place`; return whether there was one."""
    steps, sweep = [], store.Writer._sweep

    class KilledError(BaseException):
        pass

    def counted(call):
        def step(*given):
            if len(steps) == place:
                raise KilledError
            steps.append(call)
            return call(*given)

        return step

    patch.setattr(compacting, "_write", counted(compacting._write))
    patch.setattr(About, "write", counted(About.write))
    patch.setattr(Commit, "write", counted(Commit.write))
    patch.setattr(store.Writer, "_sweep", lambda self: counted(sweep)(self) if steps else sweep(self))
    try:
        compact()
    except KilledError:
        return True
    return False


def test_a_compaction_that_is_killed_leaves_the_gallery_as_it_was(three_cameras, model, monkeypatch):
    """Stopped at each of its writes in turn, and last before the old files are removed."""
    gallery, stopped = three_cameras, 0
    for place in range(9):
        gallery.remove(gallery.files[:1])
        before, features = gallery.files, gallery.features.copy()
        with monkeypatch.context() as patch:
            stopped += killed_at(place, patch, gallery.compact)
        again = Gallery.open(gallery.folder, model)
        assert again.files == before
        np.testing.assert_array_equal(again.features, features)
        assert again.add(before[:1]).unchanged == 1  # whoever writes next removes what was left behind
        assert len(list(gallery.folder.glob("features*"))) == 1
        assert again.check()
    assert stopped == 8, "five files, gallery.json, commit.json and the old files"


def test_a_compaction_without_room_is_told(three_cameras, monkeypatch):
    def full(path, parts):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compacting, "_write", full)
    with pytest.raises(ValueError, match="could not be compacted: No space left"):
        three_cameras.compact()
    assert not list(three_cameras.folder.glob("*-1.*"))
    assert three_cameras.check()


def test_files_that_are_removed_between_two_looks_are_looked_for_again(three_cameras, model, monkeypatch):
    """Another process compacts after commit.json was read and before the files that it names are mapped."""
    gallery, of, turns = three_cameras, View._of.__func__, []

    def slow(cls, folder, about, commit):
        if not turns:
            turns.append(commit.generation)
            Gallery.compact(gallery)
        return of(cls, folder, about, commit)

    monkeypatch.setattr(View, "_of", classmethod(slow))
    view = View.open(gallery.folder, gallery.about)
    assert turns == [0]
    assert view.commit.generation == 1


def test_groups(gallery, model, tmp_path):
    groups = gallery.group(eps=0.9, min_samples=2, k1=2, k2=1)
    names = [None if label < 0 else groups.names[label] for label in groups.labels]
    assert names == gallery.identities, "identities that are known are kept"
    with pytest.raises(ValueError, match="has no threshold"):
        gallery.group(accepted=True)
    with pytest.raises(ValueError, match="groups need two"):
        Gallery.open(tmp_path / "none", model).group()


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


def test_another_model_another_size_and_a_folder_of_something_else(gallery, cameras):
    with pytest.raises(ValueError, match="belongs to another model"):
        Gallery.open(gallery.folder, plain_model("d2"))
    with pytest.raises(ValueError, match=r"prepared otherwise \(interpolation bicubic; now interpolation bilinear"):
        Gallery.open(gallery.folder, plain_model(interpolation="bilinear"))
    with pytest.raises(ValueError, match="is no gallery"):
        Gallery.open(cameras, plain_model())
    with pytest.raises(ValueError, match="is a file"):
        Gallery.open(cameras / "c0" / "0.png", plain_model())


def test_a_newer_format_and_a_damaged_folder(gallery, model):
    about = gallery.folder / "gallery.json"
    text = about.read_text()
    about.write_text(text.replace('"format": 1', '"format": 3'))
    with pytest.raises(ValueError, match=r"newer version of duoreid \(format 3"):
        Gallery.open(gallery.folder, model)
    about.write_text(text)
    content = (gallery.folder / FEATURES).read_bytes()
    (gallery.folder / FEATURES).write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"damaged: features.bin has 1,151 bytes of 1,152"):
        Gallery.open(gallery.folder, model)
    (gallery.folder / FEATURES).write_bytes(content[:100] + b"xxxx" + content[104:])
    assert len(Gallery.open(gallery.folder, model).check().damaged) == 1
    (gallery.folder / COMMIT).unlink()
    with pytest.raises(ValueError, match=r"damaged: commit.json is missing"):
        Gallery.open(gallery.folder, model)


def test_what_cannot_be_added(gallery, cameras, tmp_path):
    for source, words in (
        (tmp_path / "nothing.csv", "does not exist"),
        (np.zeros((4, 4, 3), np.uint8), "save the image first"),
        (3, "a folder, a CSV file or a list"),
    ):
        with pytest.raises(ValueError, match=words):
            gallery.add(source)
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        gallery.add(tmp_path / "bare")
    for pattern, words in (
        ("(", "no regular expression"),
        ("x", "name one or more of the groups"),
        ("(?P<camera>q)", "do not match the pattern"),
    ):
        with pytest.raises(ValueError, match=words):
            gallery.add(cameras, pattern=pattern)
    assert gallery.add([tmp_path / "gone.png"]).broken == ((str(tmp_path / "gone.png"), "No such file or directory"),)


def test_what_lies_behind_the_commit_is_overwritten(gallery, model, cameras):
    """As a process leaves it that is killed after the features were written and before the commit."""
    for name in (FEATURES, "rows.bin", "files.bin", "identities.txt"):
        with (gallery.folder / name).open("ab") as file:
            file.write(b"\x07" * 999)
    again = Gallery.open(gallery.folder, model)
    assert len(again) == 12
    again.add(picture(cameras / "c3" / "11.png", 11), identities=["eleven"])
    assert again.check()
    assert again.identities[-1] == "eleven"
    assert (gallery.folder / "rows.bin").stat().st_size == 13 * RECORD.itemsize


def test_a_replaced_row_is_never_there_twice(gallery, model, cameras, monkeypatch):
    """Killed between the commit and the mark of the old row: the commit itself says that the old row is gone."""
    picture(cameras / "c0" / "0.png", 5, noise=9)

    class KilledError(Exception):
        pass

    def killed(*given, **named):
        raise KilledError

    monkeypatch.setattr(store.Writer, "mark", killed)
    with pytest.raises(KilledError):
        gallery.add(cameras, pattern=PATTERN)
    monkeypatch.undo()
    again = Gallery.open(gallery.folder, model)
    assert sorted(again.files) == sorted(map(str, cameras.rglob("*.png")))
    assert again.add(cameras, pattern=PATTERN).decoded == 0
    assert len(Gallery.open(gallery.folder, model)) == 12
    assert json.loads((gallery.folder / COMMIT).read_text())["removed"] == []


CHILD = """
import os, sys
from duoreid import Gallery
from tests.serving.conftest import plain_model
for line in sys.stdin:  # imported once, and forked for each line: no thread runs here
    if not (pid := os.fork()):
        Gallery.open(sys.argv[1], plain_model()).add(sys.argv[2], batch_size=2)
        os._exit(0)
    print(pid, flush=True)
    if line != "beside\\n":
        while True:
            try:
                os.wait()
            except ChildProcessError:
                break
        print("ended", flush=True)
"""


@pytest.fixture
def adding(tmp_path):
    """A process that starts others, each of which adds the folder `many` to the gallery."""
    root = Path(__file__).parents[2]
    words = [sys.executable, "-c", CHILD, str(tmp_path / "gallery"), str(tmp_path / "many")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(root)}, **pipes) as process:
        yield process
        process.stdin.close()


def started(process: subprocess.Popen, word: str = "alone") -> int:
    process.stdin.write(f"{word}\n")
    return int(process.stdout.readline())


def committed(folder: Path) -> int:
    try:
        return json.loads((folder / COMMIT).read_text())["rows"]
    except FileNotFoundError:
        return 0


def test_killed_at_random_moments(tmp_path, model, adding):
    """What was whole stays, nothing is there twice, and the next process goes on."""
    folder, random, grown = tmp_path / "many", np.random.default_rng(0), [0]
    for person in range(200):
        picture(folder / f"{person:03d}.png", person)
    for _ in range(12):
        pid, aim = started(adding), grown[-1] + int(random.integers(1, 20))
        while committed(tmp_path / "gallery") < aim:
            time.sleep(0.0005)
        time.sleep(random.uniform(0, 0.01))  # anywhere in the next batch
        os.kill(pid, signal.SIGKILL)
        assert adding.stdout.readline() == "ended\n"
        gallery = Gallery.open(tmp_path / "gallery", model)
        files = gallery.files
        assert len(set(files)) == len(files) >= aim
        assert gallery.check()
        grown.append(len(files))
    done = gallery.add(folder)
    assert (done.added, done.unchanged) == (200 - grown[-1], grown[-1])
    assert done.added > 0, "no process was killed in the middle"
    assert sorted(gallery.files) == sorted(map(str, folder.iterdir()))
    np.testing.assert_array_equal(gallery.features, model.embed(gallery.files))


def test_two_processes_take_turns(tmp_path, model, adding):
    folder = tmp_path / "many"
    for person in range(60):
        picture(folder / f"{person:02d}.png", person)
    started(adding, "beside")
    started(adding)
    assert adding.stdout.readline() == "ended\n"
    gallery = Gallery.open(tmp_path / "gallery", model)
    assert sorted(gallery.files) == sorted(map(str, folder.iterdir()))
    assert gallery.check()


def test_a_file_system_without_locks(tmp_path, model, cameras, monkeypatch, capsys):
    """A mark stands for the lock while one adds; who finds one is told what it may be."""

    def no_locks(path, *, wait):
        raise NoLocksError("none")

    monkeypatch.setattr(store, "hold", no_locks)
    gallery = Gallery.open(tmp_path / "gallery", model)
    assert gallery.add(cameras).added == 12
    assert not (gallery.folder / MARK).exists()
    assert capsys.readouterr().err.count("has no locks") == 1
    (gallery.folder / MARK).write_text("")
    with pytest.raises(UserError, match=rf"another process adds to .*{MARK} has outlived it"):
        gallery.add(cameras)
    assert len(gallery) == 12


def test_threads_and_asyncio(gallery, model, cameras):
    files = sorted(cameras.rglob("*.png"))
    expected = gallery.search(model.embed(files), 2)

    async def ask() -> list:
        def one(file):
            return gallery.search(model.embed(file), 2)[0]

        return await asyncio.gather(*(asyncio.to_thread(one, file) for file in files))

    for own, hits in zip(asyncio.run(ask()), expected, strict=True):
        assert own.files == hits.files


def test_a_folder_that_is_moved_or_copied_is_the_same_gallery(gallery, model, tmp_path):
    shutil.copytree(gallery.folder, tmp_path / "copy")
    assert Gallery.open(tmp_path / "copy", model).files == gallery.files


def test_opening_takes_no_memory_for_what_is_mapped(tmp_path, model):
    """A million rows open in a moment: nothing of a row's size is read."""
    gallery = Gallery.open(tmp_path / "gallery", model)
    count, width = 200_000, model.dimension
    for name, size in ((FEATURES, count * width * 4), ("rows.bin", count * RECORD.itemsize), ("files.bin", count)):
        with (gallery.folder / name).open("r+b") as file:
            file.truncate(size)
    replace(Commit(), rows=count, files=count).write(gallery.folder)
    assert len(gallery) == count
    assert isinstance(gallery.features.base, np.memmap)
