"""What --source and --target may be: names, NAME=PATH, paths, several; and several sources as one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duoreid.core.errors import UserError
from duoreid.core.settings.config import DataConfig
from duoreid.core.settings.published import of_transfer
from duoreid.core.settings.transfer import MMTRecipe, TransferDataConfig
from duoreid.datasets.library import open_data
from duoreid.datasets.opening import Place, places
from tests.datasets import trees

SMALL = DataConfig(height=32, width=16, cache=False)


def test_a_word_is_a_name_a_name_and_its_place_or_a_path(tmp_path, monkeypatch):
    assert places("Market-1501", "data") == [Place("market1501", Path("data"))]
    assert places("dukemtmc=~/duke", "data") == [Place("dukemtmc", Path("~/duke").expanduser())]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cameras").mkdir()
    (tmp_path / "a,b").mkdir()
    (tmp_path / "msmt17").mkdir()
    assert places("cameras", "data") == [Place("folder", Path("cameras"))]
    assert places(str(tmp_path / "a,b"), "data") == [Place("folder", tmp_path / "a,b")]
    assert places("msmt17", "data") == [Place("msmt17", Path("data"))]  # a name goes before a path
    named = places("market1501, msmt17=/d,cameras", "data")
    assert [place.name for place in named] == ["market1501", "msmt17", "folder"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("market1051", r"'market1501'(.|\n)*NAME=PATH"),
        ("market1501=", "lacks the path"),
        ("./none", "does not exist"),
        ("market1501,market1501", "twice"),
        ("nothing=/x", "nothing=/x"),
        ("", "dataset"),
    ],
)
def test_words_that_mean_nothing(word, message):
    with pytest.raises(UserError, match=message):
        places(word, "data")


def test_several_sources_keep_people_and_cameras_apart(tmp_path):
    trees.market(tmp_path / "m")
    trees.folder(tmp_path / "own")
    trees.image(tmp_path / "own/train/nobody.png")
    config = replace(SMALL, data=str(tmp_path))
    joined = open_data(f"market1501={tmp_path / 'm'},{tmp_path / 'own'}", config)
    train = joined.dataset.train
    assert train.identities.tolist() == [0] * 3 + [1] * 3 + [-1] + [2, 2, 3, 3]
    assert train.cameras.tolist() == [0, 1, 2] * 2 + [-1] + [3, 4] * 2
    assert (len(joined.train), len(joined.test), joined.dataset.searches) == (11, 0, ())
    assert joined.dataset.name == "market1501,folder"
    alone = [open_data(word, config) for word in (f"market1501={tmp_path / 'm'}", str(tmp_path / "own"))]
    apart = np.concatenate([data.train[np.arange(len(data.train))] for data in alone])
    assert (joined.train[np.arange(11)] == apart).all()
    assert any("market1501: junk" in remark for remark in joined.dataset.remarks)


def test_one_of_several_sources_without_labels_is_refused(tmp_path):
    trees.market(tmp_path / "m")
    trees.image(tmp_path / "heap/nobody.png")
    with pytest.raises(UserError, match=r"folder in .*heap has no labelled training image.*leave it out"):
        open_data(f"market1501={tmp_path / 'm'},{tmp_path / 'heap'}", replace(SMALL, data=str(tmp_path)))


def test_the_cache_of_ones_own_pictures_lies_beside_the_datasets(tmp_path):
    trees.folder(tmp_path / "own")
    config = replace(SMALL, cache=True, data=str(tmp_path / "data"))
    assert len(open_data(str(tmp_path / "own"), config).train) == 4
    assert (tmp_path / "data/cache").is_dir()
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == ["gallery", "query", "train"]


def test_published_numbers_are_found_whatever_the_place():
    data = TransferDataConfig(source="market1501=/d", target="dukemtmc=/e")
    config = MMTRecipe(data=data)
    config = replace(config, network=replace(config.network, arch="resnet50"))
    assert of_transfer(config, "dukemtmc=/e", "", False) == {"the paper": (29.6, 46.0)}
