"""Moments: read back as they were written, never written when not finite."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.errors import UserError
from duoreid.core.methods.base import Labelling
from duoreid.core.protocols import Metrics
from duoreid.core.settings.config import as_dict
from duoreid.core.settings.transfer import MMTRecipe
from duoreid.core.training import snapshot as snapshot
from duoreid.core.training.loop import Means, Progress
from duoreid.core.training.record import Record
from duoreid.core.training.snapshot import History, Position, Snapshot
from duoreid.core.training.tables import Row

SETTINGS = as_dict(MMTRecipe())


def example(epoch=3, **state):
    labelling = Labelling(np.array([1, -1, 0], np.int32), 2, {"clusters": 2.0, "adjusted_rand": 0.1 + 0.2})
    progress = Progress(epoch, 5, labelling, Means(5, {"total": 1 / 3}), 0.25, 1.5)
    past = History(
        [Row("epoch 1, teacher 1", Metrics(0.1, 0.2, 0.3, 0.4, 0.5, 0.6), {"clusters": 2.0}, None)],
        {"testing": 2.5},
        0.1,
        [{"backend": "torch", "since": "the start"}],
        {"synthetic-a (1,)": "0123"},
        ['{"event": "run"}'],
        7.0,
    )
    state = {"a.weight": np.arange(4, dtype=np.float32), "adam.step": np.int64(3), **state}
    return Snapshot(Position(2, 0, epoch, 5), state, progress, {"eps": 0.1 + 0.7}, past, SETTINGS)


def test_round_trip(tmp_path):
    given = example()
    given.save(tmp_path / "m.safetensors")
    loaded = snapshot.load(tmp_path / "m.safetensors")
    assert loaded.position == given.position
    assert loaded.memory == given.memory
    assert loaded.history == given.history
    assert loaded.state.keys() == given.state.keys()
    np.testing.assert_array_equal(loaded.state["a.weight"], given.state["a.weight"])
    one, two = loaded.progress, given.progress
    assert replace(one, labelling=None) == replace(two, labelling=None)
    assert (one.labelling.classes, one.labelling.facts) == (two.labelling.classes, two.labelling.facts)
    np.testing.assert_array_equal(one.labelling.labels, two.labelling.labels)
    assert one.labelling.labels.dtype == np.int32


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_written(tmp_path, value):
    path = tmp_path / "m.safetensors"
    example(1).save(path)
    with pytest.raises(UserError, match=r"1 tensors are not finite at stage 2, epoch 4, iteration 5 \(b\.weight"):
        example(3, **{"b.weight": np.array([1, value])}).save(path)
    assert snapshot.load(path).position.epoch == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"memory": None},
        {"position": {"stage": 7}},
        {"position": {"stage": 2, "when": 3}},
        {"position": "the end"},
        {"past": {"rows": 3}},
        {"config": []},
        {"epoch": {}},
    ],
)
def test_a_moment_of_another_version_is_refused(tmp_path, changes):
    """Whole by its digest, but not what this version writes."""
    path = tmp_path / "m.safetensors"
    example().save(path)
    state, metadata = checkpoint.load(path)
    metadata = {name: value for name, value in (metadata | changes).items() if value is not None}
    checkpoint.save(path, state, metadata)
    with pytest.raises(UserError, match="another version wrote it, or somebody changed it"):
        snapshot.load(path)


def test_positions_are_in_the_order_of_time():
    later = [Position(1, 0, 5, 9), Position(1, 1, 0, 0), Position(2, 0, 0, 1), Position(2, 0, 1, 0)]
    assert sorted(later, reverse=True) == later[::-1]


def latest(folder, **adapt):
    config = replace(MMTRecipe(), adapt=replace(MMTRecipe().adapt, epochs=8, **adapt))
    warnings = []
    return snapshot.latest(folder, config, as_dict(config), warnings.append), warnings


def test_the_latest_or_the_one_before(tmp_path):
    assert latest(tmp_path) == (None, [])
    example(2).save(tmp_path / snapshot.PREVIOUS)
    example(3).save(tmp_path / snapshot.LAST)
    moment, warnings = latest(tmp_path)
    assert (moment.position.epoch, warnings) == (3, [])
    (tmp_path / snapshot.LAST).write_bytes(b"nothing")
    moment, warnings = latest(tmp_path)
    assert moment.position.epoch == 2
    assert "Going on from previous.safetensors" in warnings[0]
    assert moment.file == snapshot.PREVIOUS
    assert (tmp_path / snapshot.LAST).read_bytes() == b"nothing"  # to look changes nothing


def test_a_save_that_fails_after_a_damaged_one_loses_nothing(tmp_path, monkeypatch):
    """Saving moves the last snapshot to the one before first: a damaged one must not take its place."""
    before = Record.begin(tmp_path / "run", MMTRecipe(), {})
    before.keep(example(2))
    before.keep(example(3))
    before.close()
    (before.folder / snapshot.LAST).write_bytes(b"nothing")
    moment = latest(before.folder)[0]
    assert moment.position.epoch == 2
    record = Record.reopen(before.folder, MMTRecipe())
    record.go_back({}, moment.history, moment.file)

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        record.keep(example(4))
    record.close()
    assert snapshot.load(record.folder / snapshot.PREVIOUS).position.epoch == 2
    assert latest(record.folder)[0].position.epoch == 2


def test_one_file_under_both_names_leaves_no_temporary_one(tmp_path):
    """So it is where a process was killed between the two steps of a save, or has gone back to the snapshot before."""
    record = Record.begin(tmp_path / "run", MMTRecipe(), {})
    record.keep(example(2))
    (record.folder / snapshot.PREVIOUS).hardlink_to(record.folder / snapshot.LAST)
    record.keep(example(3))
    record.close()
    assert [snapshot.load(record.folder / name).position.epoch for name in (snapshot.LAST, snapshot.PREVIOUS)] == [3, 2]
    assert not [path for path in record.folder.iterdir() if path.name.startswith(".")]


def test_other_settings_are_refused(tmp_path):
    example(3).save(tmp_path / snapshot.LAST)
    with pytest.raises(UserError, match=r"adapt\.clusters = 500, but config\.json beside it says 7"):
        latest(tmp_path, clusters=7)
    changed = json.loads(json.dumps(SETTINGS))
    changed["data"]["data"], changed["run"]["save_every"] = "/elsewhere", 7
    snapshot.latest(tmp_path, replace(MMTRecipe(), adapt=replace(MMTRecipe().adapt, epochs=8)), changed, print)
