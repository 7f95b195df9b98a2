"""The hours of a whole recipe: every part is measured, and multiplied out by the recipe's own counts."""

import json
import time

import numpy as np
import pytest

from duoreid.benchmarks import recipe, recipe_sets, watched
from duoreid.core.ranking import rank
from duoreid.datasets.counts import Published

TINY = ["--arch", "tiny", "--height", "32", "--width", "16", "--threads", "1", "--identities", "4", "--images", "2"]
TINY += ["--pretrain-identities", "4", "--pretrain-images", "2", "--batch-norm-group", "4"]
COUNTS = {
    "training identities": 30,
    "training images": 300,
    "query identities": 20,
    "query images": 40,
    "gallery images": 100,
    "cameras": 3,
}


@pytest.fixture
def small(monkeypatch):
    """Let the published datasets be small ones."""
    for name in ("dukemtmc", "market1501"):
        monkeypatch.setitem(recipe_sets.PUBLISHED, name, Published("made up", COUNTS))


def test_a_recipe_is_measured_and_multiplied_out(small, tmp_path, capsys):
    file = tmp_path / "recipe.json"
    argv = ["--share", "0.0001", "--output", str(file), "--clusters", "30", "--evaluate-every", "3", *TINY]
    assert recipe.main(argv) == 0
    measured = json.loads(file.read_text())
    parts = {part["name"]: part for part in measured["parts"]}
    # Two networks of 80 epochs, then 40 epochs with a test every third and at the end, of two teachers.
    assert {name: part["times"] for name, part in parts.items()} == {
        "stage 1: steps": 2 * 80 * 100,
        "stage 1: saving": 2 * 80,
        "stage 1: embedding the test": 2 * 140,
        "embedding the target": 40 * 300,
        "clustering": 40,
        "adaptation: steps": 40 * 400,
        "adaptation: saving": 40,
        "testing: embedding": 14 * 140,
        "testing: ranking": 2 + 14 * 2,
    }
    assert parts["stage 1: steps"]["measured"] == "3 steps"
    assert parts["clustering"]["measured"].startswith("300 x ")
    assert all(part["seconds"] > 0 and 0 <= part["waits"] <= 1 and part["busy"] is None for part in parts.values())
    assert measured["hours"] == pytest.approx(sum(part["times"] * part["seconds"] / 3600 for part in parts.values()))
    assert {name for name, part in parts.items() if part["waits"] == 1} == {
        *("stage 1: saving", "adaptation: saving", "clustering", "testing: ranking")
    }
    assert (measured["share"], measured["preset"]) == (0.0001, recipe.DEFAULT)
    assert {"command", "commit", "processor", "about"} <= measured.keys()
    shown = capsys.readouterr().out
    assert "dukemtmc to market1501, tiny" in shown
    assert "the whole recipe" in shown


def test_hours_and_waits_are_weighted_sums():
    parts = [recipe.Part("a", "", 3600, 2.0, 0.25), recipe.Part("b", "", 1, 7200.0, 1.0)]
    assert [part.hours for part in parts] == [2.0, 2.0]
    assert recipe.totals(parts) == {"hours": 4.0, "waits": 0.625}


@pytest.mark.parametrize(
    ("argv", "needle"),
    [
        (["--share", "0"], "--share must lie above 0"),
        (["--share", "1.5"], "--share must lie above 0"),
        (["--preset", "mvd-sysu"], "has no stage on a source and one of clusters"),
        (["--target", "synthetic-b"], "the size of synthetic-b is not known as a whole"),
        (["--arch", "resnet5O"], "resnet50"),
    ],
)
def test_mistakes_end_in_one_message(argv, needle, capsys):
    assert recipe.main(argv) == 2
    assert needle in capsys.readouterr().err


def test_sizes_are_those_published():
    assert recipe_sets.size_of("market1501") == recipe_sets.Size(751, 12_936, 750, 3_368, 15_913, 6)
    assert recipe_sets.size_of("dukemtmc=/disk/duke").images == 16_522


def test_a_share_of_pictures_is_made_but_enough_for_a_batch():
    share = recipe_sets.training_set("market1501", 0.01, (4, 8), (16, 8), 0)
    assert len(np.unique(share.split.identities)) == 8  # 7.5 of 751
    assert share.images.shape == (129, 16, 8, 3)
    least = recipe_sets.training_set("market1501", 1e-6, (4, 8), (16, 8), 0)
    assert (len(np.unique(least.split.identities)), len(least.split)) == (4, 8)
    seen = {(identity, camera) for identity, camera in zip(share.split.identities, share.split.cameras, strict=True)}
    assert len(seen) == 8 * 6  # everybody in each camera


def test_made_up_features_tell_people_apart_but_not_at_once():
    split = recipe_sets.people(20, 200, 2)
    features = recipe_sets.features(split, 2, 64, 0)
    assert features.shape == (2, 200, 64)
    assert np.linalg.norm(features, axis=2) == pytest.approx(1.0, abs=1e-5)
    rows = np.arange(200)
    scores = rank(features[0], features[0], split.identities, split.identities, rows, rows + 200)
    assert 0.3 < scores.average_precision.mean() < 1


class Slow:
    """A learner whose step takes a while."""

    def step(self, batch, rate, ema):
        time.sleep(0.02)

    def losses(self):
        time.sleep(0.05)
        return {"total": 1.0}

    def relabel(self, centroids):
        return "passed through"


def test_waiting_is_what_lies_between_steps():
    learner = watched.Watched(Slow(), watched.Unknown())
    for _ in range(3):
        time.sleep(0.03)
        learner.step(None, 0.0, 0.0)
        learner.losses()
    assert learner.steps == 3
    assert 0.09 <= learner.waited < 0.09 + 0.1
    learner.forget()
    assert (learner.waited, learner.steps) == (0.0, 0)
    assert learner.relabel(None) == "passed through"


class Event:
    """What a CUDA event says: milliseconds."""

    def __init__(self, at):
        self.at = at

    def elapsed_time(self, other):
        return other.at - self.at


def test_busy_is_the_share_of_steps_in_the_loop(monkeypatch):
    monkeypatch.setattr("torch.cuda.synchronize", lambda: None)
    device = watched.Cuda()
    assert device.busy() is None
    device.events = [Event(at) for at in (10, 40, 50, 80, 90, 110)]
    assert device.busy() == pytest.approx(80 / 100)
    assert device.events == []


def test_pictures_that_are_only_counted_are_not_read():
    with pytest.raises(ValueError, match="counted, not made"):
        recipe.Unread(5)[np.arange(2)]


def test_reading_is_timed():
    images = recipe_sets.training_set("market1501", 1e-6, (4, 8), (16, 8), 0).images
    read = watched.Read(images)
    assert (read[np.arange(3)] == images[np.arange(3)]).all()
    assert read.seconds > 0
    assert (len(read), read.shape) == (8, (8, 16, 8, 3))
