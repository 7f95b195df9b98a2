"""Compaction of a gallery: the room of removed rows comes back, and what stops it on its way loses nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from duoreid import Gallery
from duoreid.core.gallery import compacting, store
from duoreid.core.gallery.layout import About, Commit
from duoreid.core.gallery.view import View


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
