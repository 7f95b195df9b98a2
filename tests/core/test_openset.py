"""Thresholds against brute force: every gallery of n strangers drawn, every search made."""

import json
from itertools import combinations
from math import comb

import numpy as np
import pytest

from duoreid.core.data import Dataset, Search, Split, Trial
from duoreid.core.errors import UserError
from duoreid.core.numeric.strangers import BestOf
from duoreid.core.openset import SIZES, Comparison, calibrate, compare, identify
from duoreid.core.random import rng
from duoreid.core.searches import compare_draw, open_set
from duoreid.core.threshold import Threshold


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def people(identities, images, *, spread=0.6, seed=0, dimension=16):
    """Return features, identities and cameras of people with so many images each."""
    random = rng(seed, "test people")
    centres = unit(random.normal(size=(identities, dimension))).repeat(images, axis=0)
    noise = spread * random.normal(size=centres.shape) / np.sqrt(dimension)
    return unit(centres + noise), np.arange(identities).repeat(images), np.tile(np.arange(images), identities)


def alone(features, ids, cameras, **options):
    return compare(features, None, ids, None, cameras, None, **options)


def brute_rate(features, ids, size, threshold):
    """Return the false-accept rate over every query and every gallery of `size` of its strangers."""
    similarity, rates = features @ features.T, []
    for query in range(len(ids)):
        strangers = similarity[query, ids != ids[query]]
        best = np.array([max(drawn) for drawn in combinations(strangers, size)])
        rates.append((best >= threshold).mean())
    return float(np.mean(rates))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_rate_and_threshold_equal_those_of_all_galleries(size):
    features, ids, cameras = people(12, 2)
    best = BestOf(alone(features, ids, cameras, smallest=size).strangers, size)
    for threshold in (-0.2, 0.1, 0.3, 0.5):
        assert best.rate(threshold) == pytest.approx(brute_rate(features, ids, size, threshold), abs=1e-9)
    for far in (0.05, 0.2, 0.5):
        limit = best.threshold(far)
        assert brute_rate(features, ids, size, limit) <= far + 1e-9
        lower = float(np.nextafter(np.float32(limit), np.float32(-1)))
        assert brute_rate(features, ids, size, lower) > far - 1e-9


def test_weights_are_repetitions():
    """An identity of weight 2 is one whose images stand twice in the gallery and ask twice; of 0, one that is gone."""
    features, ids, cameras = people(14, 2)
    weights = np.ones(14)
    weights[3], weights[5] = 2, 0
    weighted = BestOf(alone(features, ids, cameras, smallest=4).strangers, 4, weights)
    rows = np.concatenate([np.flatnonzero(ids != 5), np.flatnonzero(ids == 3)])
    asked = compare(*(a for part in (features, ids, cameras) for a in (part[rows], part[rows])), smallest=4)
    similarity = features[rows] @ features[rows].T
    for threshold in (0.2, 0.4):
        expected = []
        for place, query in enumerate(rows):
            strangers = similarity[place, ids[rows] != ids[query]]
            total = len(strangers)
            draws = 4 * total / 26
            if draws == int(draws):
                ahead = int((strangers >= threshold).sum())
                expected.append(1 - comb(total - ahead, int(draws)) / comb(total, int(draws)))
        repeated = BestOf(asked.strangers, 4)
        assert weighted.rate(threshold) == pytest.approx(repeated.rate(threshold), abs=0.02)
        assert repeated.rate(threshold) == pytest.approx(np.mean(expected), abs=0.02)


def test_own_camera_is_no_match_and_no_stranger():
    features, ids, _ = people(30, 3, seed=2)
    cameras = np.tile([1, 1, 2], 30)
    comparison = compare(features, features, ids, ids, cameras, cameras)
    similarity = features @ features.T
    for query in range(len(ids)):
        mates = (ids == ids[query]) & (cameras != cameras[query])
        assert comparison.mates[query] == pytest.approx(similarity[query, mates].max(), abs=1e-6)
        strangers = np.sort(similarity[query, ids != ids[query]])[::-1]
        kept = comparison.strangers.similarities[query]
        np.testing.assert_allclose(kept[np.isfinite(kept)], strangers[: np.isfinite(kept).sum()], atol=1e-6)
        assert comparison.strangers.counts[query] == len(strangers)


def test_a_larger_gallery_and_a_lower_rate_need_a_higher_threshold():
    made = calibrate(alone(*people(60, 20)), dataset="people", sizes=(10, 100, 1000, 10_000), resamples=20)
    for far in (0.01, 0.001):
        values = [made.at(size, far) for size in (10, 100, 1000, 10_000)]
        assert values == sorted(values)
    assert all(made.at(size, 0.001) > made.at(size, 0.01) for size in (10, 100, 1000))
    assert [one.extrapolated for one in made.points if one.far == 0.01] == [False, False, False, True]
    for one in made.points:
        assert one.threshold_interval[0] <= one.threshold <= one.threshold_interval[1] + 0.05
        assert one.far_interval[0] <= one.far <= one.far_interval[1]
        assert one.match_interval[0] <= one.true_match_rate <= one.match_interval[1]


def test_extrapolation_is_near_what_more_strangers_say():
    features, ids, cameras = people(1000, 2, dimension=32)
    few = alone(features[:400], ids[:400], cameras[:400])
    many = alone(features, ids, cameras)
    predicted, seen = (BestOf(one.strangers, 1500).threshold(0.05) for one in (few, many))
    assert BestOf(few.strangers, 1500).beyond
    assert not BestOf(many.strangers, 1500).beyond
    assert predicted == pytest.approx(seen, abs=0.06)


def test_the_rate_on_unseen_people_lies_in_its_interval():
    """As said, in about 95% of cases: here in at least 10 of 12 halves."""
    inside = 0
    for seed in range(12):
        features, ids, cameras = people(120, 4, seed=seed)
        made = calibrate(
            alone(features[:240], ids[:240], cameras[:240]), dataset="half", more=(), sizes=(100,), resamples=40
        )
        (point,) = made.points
        other = alone(features[240:], ids[240:], cameras[240:])
        rate = BestOf(other.strangers, 100).rate(made.at(100))
        inside += point.far_interval[0] <= rate <= point.far_interval[1]
    assert inside >= 10


def test_identification_by_hand():
    features, ids, cameras = people(40, 3, seed=4)
    comparison = alone(features, ids, cameras)
    similarity = features @ features.T
    np.fill_diagonal(similarity, -np.inf)
    best = np.array([similarity[query, ids != ids[query]].max() for query in range(len(ids))])
    mate = np.array([similarity[query, ids == ids[query]].max() for query in range(len(ids))])
    for result in identify(comparison, (0.01, 0.1, 0.5)):
        assert (best >= result.threshold).mean() <= result.fpir
        assert (best >= result.threshold - 1e-5).mean() >= result.fpir - 1 / len(ids)
        assert result.tpir == pytest.approx(((mate >= result.threshold) & (mate > best)).mean(), abs=1e-9)


def test_a_threshold_survives_json():
    made = calibrate(alone(*people(40, 3)), dataset="people", resamples=20)
    assert Threshold.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert made.unsupported == (0.001,)
    assert (made.identities, made.queries, made.strangers) == (40, 120, 117)
    assert {one.size for one in made.points} == set(SIZES)


def test_the_digest_is_of_the_data():
    features, ids, cameras = people(40, 3)
    one, again = (alone(features, ids, cameras).features for _ in range(2))
    assert one == again
    assert one != alone(features, (ids + 1) % 40, cameras).features


def test_unknown_people_are_strangers_and_do_not_ask():
    features, ids, cameras = people(40, 3)
    ids[:6] = -1
    comparison = alone(features, ids, cameras)
    assert isinstance(comparison, Comparison)
    assert len(comparison.identities) == 114
    assert comparison.strangers.fewest() == 117


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, i, c: alone(f, i * 0, c), "1 people ask"),
        (lambda f, i, c: alone(f, i * 0 - 1, c), "no query has a known identity"),
        (lambda f, i, c: calibrate(alone(f[:9], i[:9], c[:9]), dataset="x", far=0.2), "at least 20"),
        (lambda f, i, c: alone(2 * f, i, c), "L2-normalised"),
        (lambda f, i, c: compare(f, f[:, :4] / 0.1, i, i, c, c), "L2-normalised"),
        (lambda f, i, c: calibrate(alone(f, i, c), dataset="x", far=0.001), "smallest that they support is 0.0083"),
        (lambda f, i, c: calibrate(alone(f, i, c), dataset="x", far=0.0), "between 0 and 1"),
        (lambda f, i, c: calibrate(alone(f, i, c * 0), dataset="x"), "no image has a match"),
        (lambda f, i, c: identify(alone(f, i, c * 0)), "no query has a match"),
        (lambda f, i, c: identify(alone(f, i, c), [0.001]), "cannot show a false-accept rate"),
        (lambda f, i, c: calibrate(alone(f, i, c), dataset="x", resamples=3), "at least 20"),
        (lambda f, i, c: calibrate(alone(f, i, c), dataset="x", resamples=20).at(100, 0.3), "calibrated are 0.01"),
        (lambda f, i, c: Threshold.from_dict({"far": 0.1}), "calibrate the model again"),
    ],
)
def test_what_cannot_be_calibrated_is_told(call, message):
    features, ids, cameras = people(40, 3)
    error = UserError if "normalised" not in message and message != "at least 20" else ValueError
    with pytest.raises(error, match=message):
        call(features, ids, cameras)


def test_the_searches_of_a_dataset_follow_their_rules():
    """SYSU-MM01's: queries of camera 3 do not see camera 2, whose images would be their only matches."""
    features, ids, _ = people(30, 3, seed=5)
    cameras = np.tile([3, 2, 1], 30)
    test = Split(("",) * 90, ids, cameras, np.zeros(90, np.uint8))
    rows = np.arange(90)
    trial = Trial(rows[cameras == 3], rows[cameras != 3])
    for ignore, seen in (("same-place", 1), ("nothing", 2)):
        search = Search("test", (trial,), ignore)
        dataset = Dataset("people", "", test, test, (search,))
        comparison = compare_draw(features, dataset, search, trial)
        assert comparison.strangers.fewest() == 29 * seen
        (at_ten,) = open_set(features, dataset, search)
        assert (at_ten.fpir, at_ten.searches) == (0.1, 30)
        allowed = identify(comparison, [0.1])[0]
        assert (at_ten.tpir, at_ten.threshold) == (allowed.tpir, allowed.threshold)
