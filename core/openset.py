"""Is nobody the answer? Open-set identification: a threshold for similarities, and how well people are told from it.

A search by a picture whose person is not in the gallery should return nobody. The false-accept rate of a threshold is
the share of such searches in which some stranger reaches it (false-positive identification rate, FPIR, of ISO/IEC
19795-1); the true-match rate is the share of searches with a match in which the match reaches it (1 - FNIR, true-
positive identification rate). Grother, Ngan, Hanaoka: "Face Recognition Vendor Test, part 2: identification", NISTIR
8271, 2019, has the same terms.

The estimator. The images of each query's own person are taken out of the gallery, which leaves M strangers. A gallery
of n strangers, n <= M, is a draw without replacement, so its best similarity stays below t with chance
C(M - c, n) / C(M, n), where c strangers reach t. The mean over queries of one minus that is the rate: the exact mean
over all draws, with none made. For n > M the nearest strangers of a query say how its tail falls: to them a
generalised Pareto distribution is fitted by L-moments (Hosking and Wallis: "Parameter and quantile estimation for the
generalized Pareto distribution", Technometrics 1987), and the rate is the mean of 1 - (1 - p(t))^n. Such points are
marked as extrapolated.

The intervals are bootstraps over identities, as queries and in the gallery (images of one person are not independent).
Each resample makes a threshold; its rates are taken on another resample. So an interval holds what as many unseen
people are expected to give at a threshold made like this one, not only what these people give.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from duoreid.core.errors import UserError
from duoreid.core.numeric.inputs import as_count, as_features, row_blocks
from duoreid.core.numeric.matches import Matches
from duoreid.core.numeric.strangers import BestOf, Strangers, kept
from duoreid.core.random import rng
from duoreid.core.threshold import Point, Threshold

FARS = (0.01, 0.001)
SIZES = (100, 1_000, 10_000)
COVERAGE = 0.95
PROBES = 1000
"""Queries that the bootstrap uses at most, drawn by key; the estimates themselves use all."""

FEWEST_STRANGERS = 20


@dataclass(frozen=True)
class Comparison:
    """The best matches of queries with and without their person in the gallery.

    mates: float32 (Q,), similarity of the best image of the query's own person; -inf where there is none. strangers:
    of each query. identities: int64 (Q,). features: digest of what was compared.
    """

    mates: np.ndarray
    strangers: Strangers
    identities: np.ndarray
    features: str


@dataclass(frozen=True)
class Identification:
    """How many searches find their person first and above a threshold, at a false-positive rate.

    fpir: asked for. threshold: the lowest that keeps it over the gallery as it stands. tpir: share of the searches
    with a match in which a match comes first and reaches the threshold. mated, searches: how many there are of each.
    """

    fpir: float
    threshold: float
    tpir: float
    mated: int
    searches: int


def compare(
    query: np.ndarray,
    gallery: np.ndarray | None,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray | None,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray | None,
    *,
    smallest: int | None = SIZES[0],
) -> Comparison:
    """Compare queries (Q, D) with a gallery (G, D); both are L2-normalised.

    Gallery images of a query's identity and camera are ignored, as `rank` does it. gallery, its ids and cameras None:
    each query is compared with all others; its own image is left out whatever its camera. Queries of an unknown
    identity (negative) are left out; gallery images of one are strangers. smallest: smallest gallery size that will
    be asked for; None: no gallery but this one, as `identify` does it. UserError where there is nobody to compare with.

    >>> rows = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    >>> comparison = compare(rows, None, [7, 7, 8, 9], None, [1, 2, 1, 1], None)
    >>> comparison.mates.tolist(), comparison.strangers.similarities[0, :2].tolist()
    ([1.0, 1.0, -inf, -inf], [0.0, 0.0])
    """
    alone = gallery is None
    query = as_features(query, "query", normalised=True)
    gallery = query if alone else as_features(gallery, "gallery", normalised=True)
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query and gallery must have as many columns, but have {query.shape} and {gallery.shape}; "
            "they must come from the same network"
        )
    gallery_ids = query_ids if alone else gallery_ids
    gallery_cameras = query_cameras if alone else gallery_cameras
    asked = np.flatnonzero(np.asarray(query_ids) >= 0)
    query_ids, query_cameras = np.asarray(query_ids)[asked], np.asarray(query_cameras)[asked]
    matches = Matches(query_ids, gallery_ids, query_cameras, gallery_cameras, len(asked), len(gallery))
    units, own, totals = _units(query_ids, matches.gallery_ids)
    depth = 1 if smallest is None else kept(len(gallery), as_count(smallest, "smallest"))
    mates = np.full(len(asked), -np.inf, np.float32)
    nearest, of = np.empty((len(asked), depth), np.float32), np.empty((len(asked), depth), np.int32)
    for block in row_blocks(len(asked), len(gallery)):
        similarity = query[asked[block]] @ gallery.T
        rows, columns, ignored = matches.of(block.start, block.stop)
        ignored = ignored | (alone & (asked[block.start + rows] == columns))
        np.maximum.at(mates, block.start + rows[~ignored], similarity[rows[~ignored], columns[~ignored]])
        similarity[rows, columns] = -np.inf
        order = _best(similarity, depth)
        nearest[block], of[block] = np.take_along_axis(similarity, order, 1), units[order]
    strangers = Strangers(nearest, of, own, totals, totals.sum() - totals[own])
    _require_strangers(strangers, query_ids, 1)
    return Comparison(mates, strangers, query_ids, _digest(query[asked], gallery, query_ids, matches.gallery_ids))


def _best(similarity: np.ndarray, depth: int) -> np.ndarray:
    """Return the columns of each row's largest entries, falling: int64 (b, depth)."""
    if depth == 1:
        return similarity.argmax(axis=1)[:, None]
    order = np.argpartition(-similarity, depth - 1, axis=1)[:, :depth]
    return np.take_along_axis(order, np.argsort(-np.take_along_axis(similarity, order, 1), axis=1), 1)


def identify(comparison: Comparison, fpir: Sequence[float] = (0.01, 0.1)) -> list[Identification]:
    """Return the true-positive identification rate at false-positive identification rates, over the whole gallery.

    A search without a match is a query whose own person's images are taken away. TPIR counts a search whose match
    comes first and reaches the threshold (ISO/IEC 19795-1, rank 1). UserError for a rate below one search in all,
    and where no query has a match.

    >>> angles = np.radians([0, 10, 60, 85, 120, 150])
    >>> rows = np.stack([np.cos(angles), np.sin(angles)], 1)
    >>> (point,) = identify(compare(rows, None, [0, 0, 1, 1, 2, 2], None, np.arange(6), None), [0.5])
    >>> print(f"{point.threshold:.3f} {point.tpir:.2f}")  # the best strangers: at 60, 50, 50, 35, 35 and 65 degrees
    0.643 1.00
    """
    mated = np.isfinite(comparison.mates)
    best = comparison.strangers.similarities[:, 0]
    if not mated.any():
        raise UserError("no query has a match in the gallery, so no true-positive rate can be measured.")
    steps = np.sort(best)[::-1]
    results = []
    for rate in fpir:
        _require_rate(rate, len(best))
        allowed = int(rate * len(best) + 1e-9)
        threshold = float(np.nextafter(steps[allowed], np.float32(np.inf))) if allowed < len(steps) else -1.0
        identified = mated & (comparison.mates >= threshold) & (comparison.mates > best)
        share = float(identified.sum() / mated.sum())
        results.append(Identification(float(rate), threshold, share, int(mated.sum()), len(best)))
    return results


def calibrate(
    comparison: Comparison,
    *,
    dataset: str,
    far: float = FARS[0],
    more: Sequence[float] = FARS,
    sizes: Sequence[int] = SIZES,
    resamples: int = 200,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> Threshold:
    """Return thresholds for false-accept rates and gallery sizes, with intervals; the module says how.

    far: the rate that holds where none is named; UserError where the data are too few for it: with Q searches no rate
    below 1 / Q is seen. more: further rates, reported as unsupported instead. resamples: of the bootstrap, at
    least 20. progress: called after each.

    >>> rows = rng(0, "example").normal(size=(300, 8))
    >>> rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    >>> comparison = compare(rows, None, np.arange(300) // 2, None, np.arange(300) % 2, None)
    >>> made = calibrate(comparison, dataset="noise", more=(), sizes=(10, 100), resamples=20)
    >>> made.at(10) < made.at(100) < 1
    True
    """
    resamples = as_count(resamples, "resamples", 20)
    count = len(comparison.identities)
    _require_rate(far, count)
    _require_strangers(comparison.strangers, comparison.identities, FEWEST_STRANGERS)
    if not np.isfinite(comparison.mates).any():
        raise UserError("no image has a match from another camera, so no true-match rate can be measured.")
    fars = dict.fromkeys([far, *more])
    supported = [one for one in fars if one * count >= 1 - 1e-9]
    wanted = [(one, as_count(size, "size")) for one in supported for size in sizes]
    estimates = {size: BestOf(comparison.strangers, size) for size in sizes}
    thresholds = [estimates[size].threshold(one) for one, size in wanted]
    drawn = _resample(comparison, wanted, resamples, seed, progress)
    points = tuple(
        Point(
            one,
            size,
            value,
            *(_interval(drawn[:, place, part]) for part in (0, 1)),
            _match_rate(comparison.mates, value),
            _interval(drawn[:, place, 2]),
            estimates[size].beyond,
        )
        for place, ((one, size), value) in enumerate(zip(wanted, thresholds, strict=True))
    )
    return Threshold(
        float(far),
        points,
        dataset,
        len(np.unique(comparison.identities)),
        count,
        comparison.strangers.fewest(),
        comparison.features,
        tuple(one for one in fars if one not in supported),
    )


def _resample(
    comparison: Comparison, wanted: list, resamples: int, seed: int, progress: Callable[[], None]
) -> np.ndarray:
    """Return threshold, false-accept rate and true-match rate of each resample and point: (resamples, points, 3)."""
    random = rng(seed, "open-set bootstrap")
    rows = np.arange(len(comparison.identities))
    if len(rows) > PROBES:
        rows = np.sort(random.choice(rows, PROBES, replace=False))
    strangers, mates = comparison.strangers.take(rows), comparison.mates[rows]
    replicates = np.empty((resamples, len(wanted), 3))
    for number in range(resamples):
        made, tested = (_weights(random, strangers) for _ in range(2))
        sizes = dict.fromkeys(size for _, size in wanted)
        pairs = {size: (BestOf(strangers, size, made), BestOf(strangers, size, tested)) for size in sizes}
        for place, (far, size) in enumerate(wanted):
            value = pairs[size][0].threshold(far)
            weight = tested[strangers.own]
            replicates[number, place] = value, pairs[size][1].rate(value), _match_rate(mates, value, weight)
        progress()
    return replicates


def _weights(random: np.random.Generator, strangers: Strangers) -> np.ndarray:
    """Draw how often each identity counts; images of unknown people, and of people never asked for, count once."""
    people = np.unique(strangers.own)
    weights = np.ones(len(strangers.totals))
    weights[people] = np.bincount(random.integers(0, len(people), len(people)), minlength=len(people))
    return weights


def _match_rate(mates: np.ndarray, threshold: float, weight: np.ndarray | None = None) -> float:
    weight = np.isfinite(mates) * (np.ones(len(mates)) if weight is None else weight)
    return float(((mates >= threshold) * weight).sum() / weight.sum()) if weight.sum() else float("nan")


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def _units(query_ids: np.ndarray, gallery_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number identities from 0: of the gallery, of the queries; and images of each in the gallery."""
    people = np.unique(np.concatenate([query_ids, gallery_ids]))
    units = np.searchsorted(people, gallery_ids)
    return units, np.searchsorted(people, query_ids), np.bincount(units, minlength=len(people)).astype(np.float64)


def _require_strangers(strangers: Strangers, ids: np.ndarray, fewest: int) -> None:
    people = len(np.unique(ids))
    if not people:
        raise UserError("no query has a known identity: a threshold needs labelled images of at least two people.")
    if strangers.fewest() < fewest:
        raise UserError(
            f"{people} people ask and the fewest strangers of a query are {strangers.fewest()}: this needs images of "
            f"other people, at least {fewest}. Give more labelled images of more people."
        )


def _require_rate(rate: float, searches: int) -> None:
    if not 0 < rate < 1:
        raise UserError(f"a false-accept rate lies between 0 and 1, such as 0.01, got {rate!r}.")
    if rate * searches < 1 - 1e-9:
        raise UserError(
            f"{searches} searches cannot show a false-accept rate of {rate:g}: the smallest that they support is "
            f"{1 / searches:.2g}. Give more labelled images, or a higher rate."
        )


def _digest(*arrays: np.ndarray) -> str:
    hasher = hashlib.blake2b(digest_size=8)
    for array in arrays:
        hasher.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()
