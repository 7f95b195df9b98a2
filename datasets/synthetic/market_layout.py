"""Sets in the layout of Market-1501: bounding_box_train, query, bounding_box_test."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from duoreid.core.random import rng
from duoreid.datasets.synthetic.domains import DOMAINS
from duoreid.datasets.synthetic.plans import Item, Plan, sightings


@dataclass(frozen=True)
class MarketSize:
    """Numbers of identities and files of a set in the layout of Market-1501.

    seen: how many cameras somebody passes, at least and at most; at least as many as queries show each person, so
    that there are passages enough to ask for. cameras: use only the first ones.
    """

    train_identities: int
    train: int
    test_identities: int
    query: int
    gallery: int
    distractors: int
    junk: int
    seen: tuple[int, int]
    cameras: int = 99


MARKET_SIZES = {
    "tiny": MarketSize(10, 80, 8, 16, 64, 6, 4, (2, 4), cameras=4),
    "small": MarketSize(120, 2_000, 100, 300, 1_250, 150, 100, (3, 5)),
    # Market-1501's own counts: bounding_box_test holds 13,115 + 2,798 + 3,819 = 19,732 files
    "market": MarketSize(751, 12_936, 750, 3_368, 13_115, 2_798, 3_819, (5, 6)),
}


def market(name: str, size: MarketSize, seed: int) -> Plan:
    """Plan one visible domain."""
    generator = rng(seed, f"synthetic/{name}/plan")
    cameras = min(size.cameras, len(DOMAINS[name].cameras))
    people = generator.permutation(size.train_identities + size.test_identities) + 1
    train, test = np.sort(people[: size.train_identities]), np.sort(people[size.train_identities :])
    items = []
    for person, camera, count in sightings(generator, train, range(1, cameras + 1), size.train, 1, size.seen):
        items += _passage("bounding_box_train", person, camera, count, generator)
    passages = sightings(generator, test, range(1, cameras + 1), size.query + size.gallery, 2, size.seen)
    asked = _choose_queries(generator, passages, size.query)
    for (person, camera, count), is_query in zip(passages, asked, strict=True):
        passage = _passage("bounding_box_test", person, camera, count, generator)
        if is_query:  # a query's box is drawn by hand in Market-1501, hence its number 00
            stem = passage[0].path.removeprefix("bounding_box_test/")[: -len("_01.jpg")]
            passage[0] = replace(passage[0], path=f"query/{stem}_00.jpg")
        items += passage
    for kind, count, label in (("distractor", size.distractors, "0000"), ("junk", size.junk, "-1")):
        for number in range(count):
            camera = int(generator.integers(cameras)) + 1
            path = f"bounding_box_test/{label}_c{camera}s{generator.integers(1, 7)}_{25 * number + 1:06d}_01.jpg"
            items.append(Item(path, 300_000 + number, camera, 0, junk=kind == "junk"))
    return Plan(name, tuple(items), {})


def _choose_queries(generator: np.random.Generator, passages: list[tuple[int, int, int]], count: int) -> np.ndarray:
    """Mark `count` passages of which one image becomes a query; everybody is asked for at least once."""
    order = generator.permutation(len(passages))
    first_of = {passages[row][0]: row for row in order[::-1]}
    chosen = list(first_of.values())
    chosen += [row for row in order if row not in set(chosen)]
    asked = np.zeros(len(passages), bool)
    asked[chosen[:count]] = True
    return asked


def _passage(folder: str, person: int, camera: int, count: int, generator: np.random.Generator) -> list[Item]:
    start, sequence = int(generator.integers(4, 3_000)) * 25 + 1, int(generator.integers(1, 7))
    boxes = generator.integers(1, 7, count)
    return [
        Item(
            f"{folder}/{person:04d}_c{camera}s{sequence}_{start + 25 * frame:06d}_{boxes[frame]:02d}.jpg",
            person,
            camera,
            frame,
        )
        for frame in range(count)
    ]
