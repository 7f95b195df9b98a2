"""Searches between visible and infrared images: chosen by name or direction, and the table of what they came to."""

import numpy as np
import pytest

from duoreid.core.data import INFRARED, VISIBLE, Dataset, Search, Trial
from duoreid.core.errors import UserError
from duoreid.core.protocols import Metrics, summarise
from duoreid.core.searches import chosen
from duoreid.core.settings.cross_modal import MVDRecipe
from duoreid.core.settings.published import of_cross_modal
from duoreid.core.training.pipelines.cross_modal import table
from tests.core.people_mvd import training_set


def dataset():
    test = training_set([(1, VISIBLE, 2), (1, INFRARED, 2)]).split
    visible, infrared = np.array([0, 1]), np.array([2, 3])
    names = ("all, single-shot", "indoor, single-shot", "visible to thermal")
    trials = (Trial(infrared, visible), Trial(infrared, visible), Trial(visible, infrared))
    searches = tuple(Search(name, (trial,)) for name, trial in zip(names, trials, strict=True))
    return Dataset("people", "", test, test, searches)


def test_searches_by_name_and_direction():
    names = {
        which: [search.name.split(",")[0] for search in chosen(dataset(), which)]
        for which in ("every", "all", "indoor", "visible-to-infrared", "infrared-to-visible")
    }
    assert names == {
        "every": ["all", "indoor", "visible to thermal"],
        "all": ["all"],
        "indoor": ["indoor"],
        "visible-to-infrared": ["visible to thermal"],
        "infrared-to-visible": ["all", "indoor"],
    }


def test_a_search_that_the_dataset_has_not():
    one_way = dataset()
    one_way = Dataset("people", "", one_way.train, one_way.test, one_way.searches[:2])
    with pytest.raises(UserError, match=r"--search visible-to-infrared is none .*\(all, single-shot; indoor"):
        chosen(one_way, "visible-to-infrared")


def test_the_table_has_mean_spread_and_what_was_published():
    trials = [Metrics(0.5, 0.6, 0.7, 0.8, 0.9, 0.4), Metrics(0.6, 0.6, 0.7, 0.8, 0.9, 0.4)]
    results = [summarise("visible to thermal", trials, official=True)]
    text = table(
        "mvd, regdb", results, {"visible to thermal": of_cross_modal(MVDRecipe(), "regdb", results[0].name, True)}
    )
    assert "55.0 ± 7.1" in text
    assert "60.0 ± 0.0" in text
    assert "published, MindSpore port, Ascend 910" in text
    assert of_cross_modal(MVDRecipe(), "sysu", "all, single-shot", True)["PyTorch"] == (58.80, 60.02)
    assert of_cross_modal(MVDRecipe(), "synthetic-regdb", "visible to thermal", True) == {}
