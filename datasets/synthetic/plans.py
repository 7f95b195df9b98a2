"""What a set consists of, decided from the seed alone before any image is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Item:
    """One image to draw. junk: a false detection instead of a person (`person` then only numbers it)."""

    path: str
    person: int
    camera: int
    frame: int
    junk: bool = False


@dataclass(frozen=True)
class Plan:
    """domain: of DOMAINS. items: the images. texts: other files by relative path."""

    domain: str
    items: tuple[Item, ...]
    texts: dict[str, str]


def sightings(
    generator: np.random.Generator,
    people: np.ndarray,
    cameras: Sequence[int],
    total: int,
    least: int,
    seen: tuple[int, int],
) -> list[tuple[int, int, int]]:
    """Spread `total` images over (person, camera, count), count at least `least`.

    seen: how many of the cameras somebody passes, at least and at most.
    """
    pairs = []
    for person in people:
        many = int(generator.integers(seen[0], seen[1] + 1))
        pairs += [(int(person), cameras[c]) for c in np.sort(generator.permutation(len(cameras))[:many])]
    spare = total - least * len(pairs)
    if spare < 0:
        raise ValueError(f"{total} images cannot show {len(people)} people at least {least} times in each camera")
    weights = generator.gamma(3.0, 1.0, len(pairs))
    counts = least + generator.multinomial(spare, weights / weights.sum())
    return [(person, camera, int(count)) for (person, camera), count in zip(pairs, counts, strict=True)]
