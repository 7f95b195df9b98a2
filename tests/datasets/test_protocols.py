"""The protocols against a ranking written as the protocols read, and against cases computed by hand."""

from dataclasses import replace

import numpy as np
import pytest

from duoreid.core.data import Dataset, Search, Split, Trial
from duoreid.core.protocols import (
    Metrics,
    SearchResult,
    across_trials,
    evaluate,
    require_matches,
    require_trial,
    summarise,
)
from duoreid.core.rerank import rerank
from duoreid.datasets import open_dataset
from tests.datasets import trees


def similarities(features, trial):
    """What `slowly` ranks by: row and column in the trial -> float32 similarity."""
    return features[trial.query] @ features[trial.gallery].T


def slowly(similarity, data, search, trial):
    """Rank each query's gallery by a stable sort and score it literally."""
    ids, cameras = data.test.identities, data.test.cameras
    cmc, precisions, penalties = [], [], []
    for query, row in zip(trial.query, similarity, strict=True):
        kept = []
        for column, item in enumerate(trial.gallery):
            if search.ignore == "same-camera" and ids[item] == ids[query] and cameras[item] == cameras[query]:
                continue
            if search.ignore == "same-place" and cameras[query] == 3 and cameras[item] == 2:
                continue
            kept.append(column)
        order = sorted(kept, key=lambda column: -row[column])
        people = [ids[trial.gallery[column]] for column in order]
        hits = [rank for rank, person in enumerate(people, start=1) if person == ids[query]]
        if not hits:
            continue
        precisions.append(np.mean([number / rank for number, rank in enumerate(hits, start=1)]))
        penalties.append(len(hits) / hits[-1])
        if search.distinct_identities:
            people = list(dict.fromkeys(people))
        first = people.index(ids[query]) + 1
        cmc.append([first <= k for k in (1, 5, 10, 20)])
    return Metrics(np.mean(precisions), *np.mean(cmc, axis=0), np.mean(penalties))


def random_features(count, dimensions=4, seed=0):
    features = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def close(one, other):
    assert vars(one) == pytest.approx({name: float(value) for name, value in vars(other).items()}, abs=1e-6)


@pytest.mark.parametrize(
    "name",
    ["market1501", "dukemtmc", "msmt17", "sysu", "regdb", "folder", "cuhk03-labeled", "veri776", "vehicleid", "llcm"],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_against_a_literal_ranking(tmp_path, name, seed):
    data = open_dataset(name, trees.TREES[name](tmp_path))
    features = random_features(len(data.test), seed=seed)
    results = evaluate(features, data)
    assert [result.name for result in results] == [search.name for search in data.searches]
    for result, search in zip(results, data.searches, strict=True):
        assert len(result.trials) == len(search.trials)
        for scores, trial in zip(result.trials, search.trials, strict=True):
            close(scores, slowly(similarities(features, trial), data, search, trial))


def many(ignore, seed=0):
    generator = np.random.default_rng(seed)
    return made(generator.integers(0, 6, 80).tolist(), generator.integers(1, 7, 80).tolist(), 20, ignore, seed % 2 == 1)


@pytest.mark.parametrize("ignore", ["same-camera", "same-place", "nothing"])
@pytest.mark.parametrize("seed", [0, 1])
def test_reranked_against_a_literal_ranking(ignore, seed):
    data = many(ignore, seed)
    features = random_features(len(data.test), 8, seed)
    changed = False
    for result, search in zip(evaluate(features, data, rerank=True), data.searches, strict=True):
        for scores, trial in zip(result.trials[:3], search.trials[:3], strict=True):
            distances = rerank(features[trial.query], features[trial.gallery])
            close(scores, slowly(-distances, data, search, trial))
            changed |= vars(scores) != vars(slowly(similarities(features, trial), data, search, trial))
    assert changed


def made(ids, cameras, queries, ignore, distinct=False):
    count = len(ids)
    test = Split(
        tuple(map(str, range(count))), np.array(ids, np.int32), np.array(cameras, np.int32), np.zeros(count, np.uint8)
    )
    trial = Trial(np.arange(queries), np.arange(queries, count))
    return Dataset("made", "", test, test, (Search("test", (trial,), ignore, distinct),))


def on_a_circle(*degrees):
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


#             query  gallery, nearest first
IDS = (1, 1, 2, 2, 1, 3, 1)
CAMERAS = (3, 2, 1, 1, 1, 2, 4)
ANGLES = (0, 1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("ignore", "distinct", "first", "average"),
    [
        # the match of camera 2 is the nearest, then two images of another person
        ("nothing", False, 1, (1 / 1 + 2 / 4 + 3 / 6) / 3),
        # camera 2 is not seen from camera 3: person 2 twice, then matches at 3 and 4
        ("same-place", False, 3, (1 / 3 + 2 / 4) / 2),
        # counted as one person
        ("same-place", True, 2, (1 / 3 + 2 / 4) / 2),
    ],
)
def test_by_hand(ignore, distinct, first, average):
    (result,) = evaluate(on_a_circle(*ANGLES), made(IDS, CAMERAS, 1, ignore, distinct))
    assert result.mean.mean_ap == pytest.approx(average)
    assert result.mean.rank1 == (first == 1)
    assert result.mean.rank5 == 1


def test_same_camera_by_hand():
    data = made(IDS, (1, *CAMERAS[1:]), 1, "same-camera")  # the match at rank 4 is of the query's camera
    (result,) = evaluate(on_a_circle(*ANGLES), data)
    assert result.mean.mean_ap == pytest.approx((1 / 1 + 2 / 5) / 2)
    assert result.mean.mean_inp == pytest.approx(2 / 5)


def test_groups_of_queries_count_by_their_number():
    # two queries of camera 3 (rank 1 misses) and one of camera 6 (rank 1 hits, by an image of camera 2)
    data = made((1, 1, 1, 1, 2, 1), (3, 3, 6, 2, 1, 1), 3, "same-place", True)
    (result,) = evaluate(on_a_circle(0, 0, 0, 1, 2, 3), data)
    assert result.mean.rank1 == pytest.approx(1 / 3)
    assert result.mean.mean_ap == pytest.approx((1 / 2 + 1 / 2 + (1 + 2 / 3) / 2) / 3)


def test_queries_without_a_match_are_left_out():
    data = made((9, 1, 1, 2), (1, 1, 2, 2), 2, "same-camera")
    (result,) = evaluate(on_a_circle(0, 0, 1, 2), data)
    assert result.mean.rank1 == 1
    with pytest.raises(ValueError, match="no query"):
        evaluate(on_a_circle(0, 0, 1, 2), made((9, 8, 1, 2), (1, 1, 2, 2), 2, "same-camera"))


@pytest.mark.parametrize(
    ("ids", "cameras", "ignore"),
    [((9, 8, 1, 2), (1, 1, 2, 2), "same-camera"), ((1, 1), (1, 1), "same-camera"), ((1, 1), (3, 2), "same-place")],
)
def test_a_test_that_nobody_can_pass_is_refused_before_it(ids, cameras, ignore):
    data = made(ids, cameras, 1, ignore)
    with pytest.raises(ValueError, match="no query of the search 'test' in made"):
        require_matches(data)
    require_matches(made((1, 1), (1, 1), 1, "nothing"))


def test_perfect_features_score_one(tmp_path):
    data = open_dataset("sysu", trees.sysu(tmp_path))
    features = np.eye(10, dtype=np.float32)[data.test.identities]
    for result in evaluate(features, data):
        assert set(vars(result.mean).values()) == {1.0}
        assert set(vars(result.spread).values()) == {0.0}
        assert result.official is False


def test_the_order_of_trials_rows_does_not_matter(tmp_path):
    data = open_dataset("market1501", trees.market(tmp_path))
    features, generator = random_features(len(data.test)), np.random.default_rng(0)
    (trial,) = data.searches[0].trials
    shuffled = Trial(generator.permutation(trial.query), generator.permutation(trial.gallery))
    other = replace(data, searches=(replace(data.searches[0], trials=(shuffled,)),))
    close(evaluate(features, data)[0].mean, evaluate(features, other)[0].mean)


def test_unlabelled_data_has_no_results(tmp_path):
    trees.image(tmp_path / "1.jpg")
    data = open_dataset("folder", tmp_path)
    assert evaluate(np.zeros((0, 4), np.float32), data) == []


def metrics(value):
    return Metrics(*[value] * 6)


def test_mean_and_spread_over_trials():
    result = summarise("x", [metrics(0.2), metrics(0.4), metrics(0.9)], True)
    assert result.mean.rank1 == pytest.approx(0.5)
    assert result.spread.rank1 == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1))
    assert summarise("x", [metrics(0.2)], True).spread == metrics(0.0)
    with pytest.raises(ValueError, match="no trial"):
        summarise("x", [], True)


def test_models_of_several_trials_are_joined():
    one, two = (summarise("x", [metrics(value)], True) for value in (0.2, 0.4))
    (joined,) = across_trials([[one], [two]])
    assert isinstance(joined, SearchResult)
    assert joined.mean.mean_ap == pytest.approx(0.3)
    assert len(joined.trials) == 2
    with pytest.raises(ValueError, match="same searches"):
        across_trials([[one], [replace(two, name="y")]])
    with pytest.raises(ValueError, match="same searches"):
        across_trials([])


def test_another_trial_than_trained_on_is_refused(tmp_path):
    trees.regdb(tmp_path)
    data = open_dataset("regdb", tmp_path, trial=2)
    require_trial(data, "regdb", 2)
    require_trial(data, "sysu", 0)  # a model of another dataset knows none of these people
    with pytest.raises(ValueError, match=r"trained on trial 1(.|\n)*trial 2"):
        require_trial(data, "regdb", 1)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.full((7, 4), np.nan, np.float32), "NaN"),
        (np.ones((7, 4), np.float32), "normalised"),
        (np.zeros((7, 4), np.float32), "normalised"),
        (random_features(6), "6 features for the 7"),
        (random_features(7)[0], r"shape \(N, D\)"),
        (random_features(7).astype(complex), "real"),
    ],
)
def test_bad_features(tmp_path, features, message):
    data = open_dataset("market1501", trees.market(tmp_path))
    with pytest.raises(ValueError, match=message):
        evaluate(features, data)


def test_bad_settings(tmp_path):
    data = open_dataset("market1501", trees.market(tmp_path))
    with pytest.raises(ValueError, match="max_rank"):
        evaluate(random_features(7), data, max_rank=10)
    odd = replace(data, searches=(replace(data.searches[0], ignore="everything"),))
    with pytest.raises(ValueError, match="same-camera"):
        evaluate(random_features(7), odd)


def test_other_layouts_in_memory_score_the_same(tmp_path):
    data = open_dataset("sysu", trees.sysu(tmp_path))
    features = random_features(len(data.test))
    for other in (np.asfortranarray(features), features.astype(np.float64), np.repeat(features, 2, axis=0)[::2]):
        close(evaluate(other, data)[0].mean, evaluate(features, data)[0].mean)


def test_a_split_of_unequal_columns_is_refused():
    with pytest.raises(ValueError, match="one entry per image"):
        Split(("a",), np.zeros(2, np.int32), np.zeros(1, np.int32), np.zeros(1, np.uint8))
