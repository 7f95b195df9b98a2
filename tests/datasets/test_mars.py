"""MARS: tracklets read as the lists say, averaged in evaluation and clustered as one; what broken copies are told."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat

from duoreid.core import tracklets
from duoreid.core.data import Split
from duoreid.core.methods.adaptation import Adaptation
from duoreid.core.protocols import evaluate
from duoreid.core.settings.config import DataConfig
from duoreid.core.settings.transfer import BaselineRecipe
from duoreid.datasets import open_dataset
from duoreid.datasets.doctor import examine, report
from duoreid.datasets.errors import DatasetError
from duoreid.datasets.library import open_data
from tests.datasets import trees


class Learner:
    """Embeds an image by its mean colour, in two networks; remembers its centroids."""

    def embed(self, images):
        means = np.concatenate([chunk.reshape(len(chunk), -1, 3).mean(axis=1) for chunk in images])
        rows = means.astype(np.float32)
        return np.stack([rows, rows[:, ::-1]]) / np.linalg.norm(rows, axis=1, keepdims=True)

    def relabel(self, centroids):
        self.centroids = centroids


def test_tracklets_as_the_lists_say(tmp_path):
    data = open_dataset("mars", trees.mars(tmp_path))
    assert data.train.identities.tolist() == [1] * 5 + [2] * 3
    assert data.train.cameras.tolist() == [1, 1, 3, 3, 3, 2, 6, 6]
    assert data.train.tracklets.tolist() == [0, 0, 1, 1, 1, 2, 3, 3]
    assert data.test.identities.tolist() == [0, 4, 4, 6, 6, 6]  # a distractor, no junk
    assert data.test.cameras.tolist() == [2, 1, 2, 3, 3, 5]
    assert data.frames.tracklets.tolist() == [0] * 3 + [1] + [2] * 4 + [3] * 2 + [4] + [5] * 3
    assert [file.rsplit("/", 1)[1] for file in data.test.files[:3]] == [
        "0000C2T0002F001.jpg",
        "0004C1T0003F001.jpg",
        "0004C2T0004F001.jpg",
    ]
    (search,) = data.searches
    assert (search.trials[0].query.tolist(), search.trials[0].gallery.tolist()) == ([1, 3, 5], [0, 1, 2, 3, 4, 5])
    assert data.remarks == ("junk (identity -1) left out: 1 of 7 test tracklets",)


def test_a_search_by_the_means_of_tracklets(tmp_path):
    """Query 4 (camera 1) finds its other tracklet behind the distractor; those of 6 by camera 3 hide each other."""
    data = open_dataset("mars", trees.mars(tmp_path))
    angles = np.deg2rad([8, 10, 12, 0, 18, 20, 20, 22, 60, 64, 90, 60, 62, 64])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    means = tracklets.pooled(features, data.frames.tracklets)
    assert np.allclose(np.rad2deg(np.arctan2(means[:, 1], means[:, 0])), [10, 0, 20, 62, 90, 62], atol=1e-3)
    (result,) = evaluate(means, data)
    # row 1 (0 degrees) finds the distractor (10) before its match (20); row 3 sees row 5 alone of its person, since row
    # 4 is by its own camera; row 5 sees both: 62 and 90 are nearer than 20
    assert result.mean.mean_ap == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert result.mean.rank1 == pytest.approx(2 / 3)


def test_images_are_embedded_in_parts(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (23, 4, 2, 3), np.uint8)
    numbers = np.array([0] * 6 + [2] * 9 + [1] * 8)
    whole = Learner().embed([images])
    expected = np.stack([np.stack([rows[numbers == t].mean(axis=0) for t in range(3)]) for rows in whole])
    expected /= np.linalg.norm(expected, axis=2, keepdims=True)
    monkeypatch.setattr(tracklets, "TOGETHER", 2)
    features = tracklets.embed(Learner(), images, 3, numbers)
    assert (features.shape, features.dtype) == ((2, 3, 3), np.float32)
    assert np.allclose(features, expected, atol=1e-6)
    assert np.allclose(tracklets.embed(Learner(), images, 3), whole)


def test_opened_with_its_images_and_tested_by_its_tracklets(tmp_path):
    trees.mars(tmp_path / "MARS")
    opened = open_data("mars", DataConfig(data=str(tmp_path), height=16, width=8, cache=False))
    assert (len(opened.test), len(opened.frames), len(opened.train)) == (6, 14, 8)
    assert (opened.test[np.array([1])] == opened.frames[np.array([3])]).all()
    features = tracklets.embed_test(Learner(), opened, 4)
    assert features.shape == (2, 6, 3)
    assert np.allclose(
        features[0],
        tracklets.pooled(Learner().embed([opened.frames[np.arange(14)]])[0], opened.dataset.frames.tracklets),
    )


def test_training_clusters_tracklets(tmp_path):
    trees.mars(tmp_path / "MARS")
    opened = open_data("mars", DataConfig(data=str(tmp_path), height=16, width=8, cache=False))
    config = BaselineRecipe()
    config = replace(config, adapt=replace(config.adapt, clustering="kmeans", clusters=3, identities=2))
    host, learner = Adaptation(config, {"target": opened.training_set()}, views=1), Learner()
    labelled = host.label(learner, 0)
    assert len(labelled.labels) == 8
    of_tracklets = labelled.labels[[0, 2, 5, 6]]
    assert labelled.labels.tolist() == of_tracklets[opened.dataset.train.tracklets].tolist()
    assert sorted(set(of_tracklets)) == [0, 1, 2]
    assert len(learner.centroids) == 3


def test_joined_with_a_dataset_of_images(tmp_path):
    trees.mars(tmp_path / "MARS")
    trees.market(tmp_path / "market1501")
    joined = open_data("market1501,mars", DataConfig(data=str(tmp_path), height=16, width=8, cache=False))
    assert joined.dataset.train.tracklets.tolist() == [0, 1, 2, 3, 4, 5, 6, 6, 7, 7, 7, 8, 9, 9]


def test_the_doctor_counts_tracklets(tmp_path):
    diagnosis = examine("mars", str(trees.mars(tmp_path)), progress=False)
    assert diagnosis.images["opened"] == 22
    told = report(diagnosis)
    for line in (
        "query tracklets                  1,980         3",
        "test images                          -        14",
    ):
        assert line in told
    assert "people" not in told.split("Remarks")[-1] or "junk" in told


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda r: (r / "bbox_test/0004/0004C2T0004F001.jpg").unlink(), r"1 images that test_name\.txt lists"),
        (lambda r: trees.text(r / "info/test_name.txt", "holiday.jpg\n"), r"names like 0001C1T0001F001\.jpg"),
        (lambda r: trees.text(r / "info/train_name.txt", ""), "it is empty"),
        (lambda r: trees.text(r / "info/train_name.txt", "0001C1T0001F001.jpg\n"), "line 1 to 2, but .* lines 1 to 1"),
        (lambda r: savemat(r / "info/query_IDX.mat", {"query_IDX": [[3, 8]]}), "numbers of test tracklets, 1 to 7"),
        (lambda r: savemat(r / "info/query_IDX.mat", {"query_IDX": [[1]]}), "1 of the tracklets that ask are junk"),
        (lambda r: savemat(r / "info/query_IDX.mat", {"other": [[1]]}), "the variable 'query_IDX'"),
        (
            lambda r: savemat(r / "info/tracks_train_info.mat", {"track_train_info": np.ones((4, 3))}),
            r"a row of four for each tracklet .* float64 \(4, 3\)",
        ),
        (
            lambda r: savemat(r / "info/tracks_test_info.mat", {"track_test_info": [[1, 2, -1, 1]]}),
            "no tracklet but junk",
        ),
        (lambda r: (r / "info/query_IDX.mat").unlink(), r"query_IDX\.mat missing"),
    ],
)
def test_a_broken_copy_is_told_so(tmp_path, break_it, told):
    break_it(trees.mars(tmp_path))
    with pytest.raises(DatasetError, match=told):
        open_dataset("mars", tmp_path)


def test_names_that_contradict_their_tracklet_are_a_remark(tmp_path):
    rows = np.array([[1, 2, 1, 1], [3, 5, 1, 4], [6, 6, 2, 2], [7, 8, 2, 6]])  # the second tracklet is by camera 3
    savemat(trees.mars(tmp_path) / "info/tracks_train_info.mat", {"track_train_info": rows})
    data = open_dataset("mars", tmp_path)
    assert data.remarks[0].startswith("3 images whose name says another camera than tracks_train_info.mat")
    assert data.train.cameras.tolist() == [1, 1, 4, 4, 4, 2, 6, 6]


@pytest.mark.parametrize("numbers", [[0, 2], [[0, 1]], [0.0, 1.0], [-1, 0]])
def test_numbers_of_tracklets_without_gaps(numbers):
    with pytest.raises(ValueError, match=r"0, 1, \.\.\. without a gap"):
        tracklets.count(np.array(numbers))


def test_features_and_splits_that_do_not_line_up():
    with pytest.raises(ValueError, match="one feature for each of 2 images"):
        tracklets.pooled(np.eye(3), np.array([0, 1]))
    one = np.zeros(1, np.uint8)
    with pytest.raises(ValueError, match="'tracklets': 2"):
        Split(("a",), one, one, one, tracklets=np.array([0, 1]))
