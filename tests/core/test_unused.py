"""Options of the data that no dataset has used: told, or refused where they would change who is on the pictures."""

from dataclasses import replace

import pytest

from duoreid.core.errors import UserError
from duoreid.core.settings.config import DataConfig
from duoreid.core.settings.cross_modal import MVDRecipe
from duoreid.core.settings.unused import OF, REFUSED, unused_options
from duoreid.core.training.pipelines.cross_modal import open_parts
from duoreid.datasets.library import open_data
from tests.datasets import trees


def opened(tmp_path, word, **settings):
    return open_data(word, DataConfig(str(tmp_path), height=32, width=16, cache=False, **settings))


def test_what_each_kind_of_dataset_uses(tmp_path):
    trees.market(tmp_path / "market1501")
    trees.folder(tmp_path / "own")
    assert opened(tmp_path, "market1501").dataset.options == ()
    assert opened(tmp_path, str(tmp_path / "own")).dataset.options == ("camera_pattern",)
    joined = opened(tmp_path, f"market1501,folder={tmp_path / 'own'}")
    assert joined.dataset.options == ("camera_pattern",)


@pytest.mark.parametrize("option", OF)
def test_every_option_is_told_where_no_dataset_uses_it(tmp_path, option):
    config = DataConfig(**{"data": "data", option: 7 if option == "data_seed" else "x"})
    trees.market(tmp_path / "market1501")
    trees.duke(tmp_path / "dukemtmc")
    two = [opened(tmp_path, name).dataset for name in ("market1501", "dukemtmc")]
    flag = f"--{option.replace('_', '-')}"
    if option in REFUSED:
        with pytest.raises(UserError, match=rf"{flag} x is not used: .* market1501, dukemtmc are none\. Leave it out"):
            unused_options(config, two)
    else:
        (told,) = unused_options(config, two)
        assert told.startswith(f"{flag} {getattr(config, option)} is not used: it is for synthetic datasets")
    assert unused_options(config, [two[0], replace(two[1], options=(option,))]) == []
    assert unused_options(DataConfig("data"), two) == []


def test_draws_that_a_checkpoint_was_trained_with_are_no_bar_to_another_dataset(tmp_path):
    trees.market(tmp_path / "market1501")
    trees.sysu(tmp_path / "sysu")
    assert opened(tmp_path, "market1501", draws="field").dataset.options == ()
    assert opened(tmp_path, "sysu", draws="field").dataset.options == ("draws",)
    asked = DataConfig("data", draws="field")
    assert unused_options(asked, [opened(tmp_path, "sysu", draws="field").dataset]) == []


def test_a_folder_of_a_cache_that_is_not_kept():
    config = DataConfig("data", cache=False, cache_folder="here")
    assert unused_options(config, []) == ["--cache-folder here is not used: --no-cache keeps no decoded images."]
    assert unused_options(replace(config, cache=True), []) == []


def test_trials_of_a_dataset_that_has_one_split(tmp_path):
    trees.sysu(tmp_path / "sysu")
    recipe = MVDRecipe()
    data = replace(recipe.data, data=str(tmp_path), dataset="sysu", trials=(1, 2), height=32, width=16, cache=False)
    (part,) = open_parts(replace(recipe, data=data), open_data)
    assert "--trials 1 2 is not used: sysu has one training split." in part.data.dataset.remarks
    (part,) = open_parts(replace(recipe, data=replace(data, trials=(1,))), open_data)
    assert not any("--trials" in remark for remark in part.data.dataset.remarks)
