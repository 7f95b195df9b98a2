"""A gallery on disk: pictures are added, embedded again where they have changed, removed and checked."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from duoreid import Gallery
from duoreid.core.gallery.layout import FEATURES, RECORD, Commit
from tests.serving.conftest import PATTERN, picture, plain_model


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


def test_another_model_another_size_and_a_folder_of_something_else(gallery, cameras):
    with pytest.raises(ValueError, match="belongs to another model"):
        Gallery.open(gallery.folder, plain_model("d2"))
    with pytest.raises(ValueError, match=r"prepared otherwise \(interpolation bicubic; now interpolation bilinear"):
        Gallery.open(gallery.folder, plain_model(interpolation="bilinear"))
    with pytest.raises(ValueError, match="is no gallery"):
        Gallery.open(cameras, plain_model())
    with pytest.raises(ValueError, match="is a file"):
        Gallery.open(cameras / "c0" / "0.png", plain_model())


def test_a_folder_that_is_moved_or_copied_is_the_same_gallery(gallery, model, tmp_path):
    shutil.copytree(gallery.folder, tmp_path / "copy")
    assert Gallery.open(tmp_path / "copy", model).files == gallery.files


def test_opening_takes_no_memory_for_what_is_mapped(tmp_path, model):
    """Many rows open in a moment: nothing of a row's size is read."""
    gallery = Gallery.open(tmp_path / "gallery", model)
    count, width = 200_000, model.dimension
    for name, size in ((FEATURES, count * width * 4), ("rows.bin", count * RECORD.itemsize), ("files.bin", count)):
        with (gallery.folder / name).open("r+b") as file:
            file.truncate(size)
    replace(Commit(), rows=count, files=count).write(gallery.folder)
    assert len(gallery) == count
    assert isinstance(gallery.features.base, np.memmap)
