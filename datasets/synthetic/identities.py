"""Who a synthetic person is: body, hair, clothes and bags, drawn from the clothing statistics of a domain.

`summer` wears light and saturated T-shirts, shorts and skirts; `winter` dark muted coats, trousers and backpacks.
Within a domain many people share a colour of coat or shirt, so that only the combination tells who they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from duoreid.core.random import rng
from duoreid.datasets.synthetic.materials import cloth, hair, second_cloth, skin


@dataclass(frozen=True)
class Garment:
    """One piece of clothing.

    sleeve: share of the arm covered (0 none, 0.5 to the elbow, 1 to the wrist). hem: height of its lower edge as
    a share of the body's height. bulk: its width, 1 for tight. inner: what shows where it is open, or None.
    """

    kind: str
    first: np.ndarray
    second: np.ndarray
    pattern: str
    period: float
    sleeve: float = 0.0
    hem: float = 0.5
    bulk: float = 1.0
    sleeves_differ: bool = False
    inner: np.ndarray | None = None


@dataclass(frozen=True)
class Identity:
    """A person. Lengths are in metres, widths are factors on an average build."""

    height: float
    build: float
    shoulders: float
    skin: np.ndarray
    hair: np.ndarray
    haircut: str
    headwear: str
    headwear_cloth: np.ndarray
    upper: Garment
    lower: Garment
    shoes: np.ndarray
    boots: bool
    socks: np.ndarray | None
    tights: bool
    bag: str
    bag_cloth: np.ndarray
    scarf: np.ndarray | None
    stride: float
    arm_swing: float


@dataclass(frozen=True)
class Style:
    """Clothing statistics of a domain: weights by name, need not sum to one."""

    upper: Mapping[str, float]
    lower: Mapping[str, float]
    patterns: Mapping[str, float]
    upper_colours: Mapping[str, float]
    inner_colours: Mapping[str, float]
    lower_colours: Mapping[str, float]
    shoe_colours: Mapping[str, float]
    bag_colours: Mapping[str, float]
    bags: Mapping[str, float]
    headwear: Mapping[str, float]
    scarf: float
    boots: float


# kind: (sleeve from, to), (hem from, to), bulk, warmth
UPPER_CUTS = {
    "t-shirt": ((0.32, 0.5), (0.47, 0.51), 1.06, 0.2),
    "tank top": ((0.0, 0.0), (0.48, 0.52), 1.0, 0.1),
    "dress": ((0.0, 0.4), (0.28, 0.36), 1.0, 0.2),
    "shirt": ((0.95, 1.0), (0.46, 0.5), 1.08, 0.35),
    "hoodie": ((0.95, 1.0), (0.47, 0.5), 1.2, 0.55),
    "jacket": ((0.95, 1.0), (0.46, 0.5), 1.2, 0.6),
    "puffer": ((0.95, 1.0), (0.45, 0.49), 1.38, 0.95),
    "coat": ((0.95, 1.0), (0.3, 0.4), 1.2, 0.8),
}
LOWER_CUTS = {
    # kind: (hem from, to), bulk
    "shorts": ((0.28, 0.36), 1.28),
    "skirt": ((0.3, 0.36), 1.2),
    "long skirt": ((0.1, 0.16), 1.2),
    "trousers": ((0.04, 0.05), 1.2),
    "wide trousers": ((0.03, 0.04), 1.55),
    "leggings": ((0.07, 0.1), 1.0),
}

SUMMER = Style(
    upper={"t-shirt": 50, "tank top": 14, "dress": 12, "shirt": 14, "jacket": 5, "hoodie": 5},
    lower={"shorts": 42, "skirt": 18, "trousers": 24, "leggings": 8, "wide trousers": 4, "long skirt": 4},
    patterns={"plain": 46, "stripes": 12, "pinstripes": 8, "checks": 8, "print": 16, "two-tone": 10},
    upper_colours={
        "white": 20, "sky": 8, "pink": 8, "yellow": 8, "red": 9, "turquoise": 6, "lime": 5, "orange": 6,
        "light grey": 8, "cream": 6, "blue": 6, "lilac": 4, "green": 5, "magenta": 4, "black": 6, "navy": 3,
    },
    inner_colours={"white": 5, "sky": 1, "pink": 1, "yellow": 1, "black": 1},
    lower_colours={
        "light denim": 16, "denim": 14, "khaki": 12, "white": 10, "beige": 10, "black": 9, "navy": 8, "grey": 5,
        "red": 4, "pink": 4, "sky": 4, "green": 2, "yellow": 2,
    },
    shoe_colours={"white": 30, "black": 15, "brown": 8, "beige": 12, "red": 8, "blue": 8, "grey": 8},
    bag_colours={"black": 20, "red": 10, "blue": 10, "pink": 8, "yellow": 8, "camel": 10, "grey": 8, "turquoise": 8},
    bags={"none": 52, "backpack": 22, "shoulder bag": 14, "handbag": 12},
    headwear={"none": 80, "cap": 16, "sun hat": 4},
    scarf=0.0,
    boots=0.02,
)  # fmt: skip
WINTER = Style(
    upper={"coat": 34, "jacket": 24, "puffer": 20, "hoodie": 14, "shirt": 6, "t-shirt": 2},
    lower={"trousers": 66, "wide trousers": 10, "leggings": 12, "skirt": 5, "long skirt": 4, "shorts": 3},
    patterns={"plain": 66, "checks": 8, "stripes": 6, "two-tone": 14, "print": 6},
    upper_colours={
        "black": 24, "charcoal": 13, "navy": 14, "dark brown": 7, "forest": 8, "burgundy": 8, "slate": 7,
        "olive": 7, "grey": 6, "camel": 6, "teal": 5, "brown": 4, "purple": 3, "red": 2, "cream": 2,
    },
    inner_colours={"white": 4, "grey": 3, "red": 2, "sky": 2, "cream": 2, "black": 2},
    lower_colours={
        "black": 24, "dark denim": 20, "charcoal": 14, "navy": 10, "denim": 10, "brown": 6, "grey": 7, "khaki": 6,
        "olive": 4, "burgundy": 2,
    },
    shoe_colours={"black": 26, "brown": 18, "dark brown": 12, "white": 14, "grey": 8, "camel": 10, "burgundy": 4},
    bag_colours={"black": 16, "navy": 10, "red": 9, "grey": 12, "olive": 9, "camel": 10, "blue": 8, "brown": 8},
    bags={"none": 32, "backpack": 42, "shoulder bag": 14, "handbag": 12},
    headwear={"none": 56, "beanie": 24, "hood": 14, "cap": 6},
    scarf=0.28,
    boots=0.3,
)  # fmt: skip
MIXED = Style(
    upper={"t-shirt": 20, "shirt": 16, "hoodie": 14, "jacket": 16, "coat": 14, "puffer": 8, "dress": 8, "tank top": 4},
    lower={"trousers": 34, "wide trousers": 10, "shorts": 22, "skirt": 14, "leggings": 12, "long skirt": 8},
    patterns={"plain": 40, "stripes": 14, "pinstripes": 8, "checks": 12, "print": 12, "two-tone": 14},
    upper_colours={**SUMMER.upper_colours, **WINTER.upper_colours},
    inner_colours={**SUMMER.inner_colours, **WINTER.inner_colours},
    lower_colours={**SUMMER.lower_colours, **WINTER.lower_colours},
    shoe_colours=WINTER.shoe_colours,
    bag_colours=SUMMER.bag_colours,
    bags={"none": 30, "backpack": 30, "shoulder bag": 22, "handbag": 18},
    headwear={"none": 60, "cap": 14, "beanie": 12, "sun hat": 6, "hood": 8},
    scarf=0.14,
    boots=0.2,
)
STYLES = {"summer": SUMMER, "winter": WINTER, "mixed": MIXED}


def identity(style: str, seed: int, domain: str, number: int) -> Identity:
    """Return person `number` of a domain; the same arguments always give the same person."""
    generator = rng(seed, f"synthetic/{domain}/identity", number)
    statistics = STYLES[style]
    upper = _upper(generator, statistics)
    lower = _lower(generator, statistics)
    bag = _pick(generator, statistics.bags)
    bare_legs = lower.kind in ("shorts", "skirt", "long skirt") or upper.kind == "dress"
    tights = statistics.scarf > 0 and lower.kind != "shorts" and generator.random() < 0.7
    socks = None
    if bare_legs and (tights or generator.random() < 0.25):
        socks = cloth(generator, "black" if tights else "white", 0.1)
    return Identity(
        height=float(generator.uniform(1.56, 1.9)),
        build=float(generator.choice([0.86, 1.0, 1.0, 1.16, 1.3]) * generator.uniform(0.96, 1.04)),
        shoulders=float(generator.uniform(0.9, 1.1)),
        skin=skin(generator),
        hair=hair(generator),
        haircut=str(generator.choice(["bald", "short", "short", "bob", "long", "ponytail", "bun", "afro"])),
        headwear=_pick(generator, statistics.headwear),
        headwear_cloth=cloth(generator, _pick(generator, statistics.bag_colours), 0.6),
        upper=upper,
        lower=lower,
        shoes=cloth(generator, _pick(generator, statistics.shoe_colours), 0.9),
        boots=bool(generator.random() < statistics.boots),
        socks=socks,
        tights=tights,
        bag=bag,
        bag_cloth=cloth(generator, _pick(generator, statistics.bag_colours), 1.0),
        scarf=cloth(generator, _pick(generator, statistics.bag_colours), 0.6)
        if generator.random() < statistics.scarf
        else None,
        stride=float(generator.uniform(0.35, 0.6)),
        arm_swing=float(generator.uniform(0.25, 0.6)),
    )


def _upper(generator: np.random.Generator, style: Style) -> Garment:
    kind = _pick(generator, style.upper)
    sleeve, hem, bulk, warmth = UPPER_CUTS[kind]
    first = cloth(generator, _pick(generator, style.upper_colours), warmth)
    second = second_cloth(generator, _contrast(generator, style.upper_colours, first), first)
    is_open = kind in ("jacket", "coat", "hoodie") and generator.random() < 0.45
    return Garment(
        kind=kind,
        first=first,
        second=second,
        pattern=_pick(generator, style.patterns),
        period=float(generator.uniform(0.1, 0.2)),
        sleeve=float(generator.uniform(*sleeve)),
        hem=float(generator.uniform(*hem)),
        bulk=bulk,
        sleeves_differ=bool(generator.random() < 0.12),
        inner=cloth(generator, _pick(generator, style.inner_colours), 0.3) if is_open else None,
    )


def _lower(generator: np.random.Generator, style: Style) -> Garment:
    kind = _pick(generator, style.lower)
    hem, bulk = LOWER_CUTS[kind]
    first = cloth(generator, _pick(generator, style.lower_colours), 0.3)
    pattern = str(generator.choice(["plain", "plain", "plain", "plain", "side stripe", "checks", "stripes"]))
    return Garment(
        kind=kind,
        first=first,
        second=second_cloth(generator, _contrast(generator, style.lower_colours, first), first),
        pattern="plain" if kind == "trousers" and pattern in ("checks", "stripes") else pattern,
        period=float(generator.uniform(0.1, 0.18)),
        hem=float(generator.uniform(*hem)),
        bulk=bulk,
    )


def _pick(generator: np.random.Generator, weights: Mapping[str, float]) -> str:
    values = np.array(list(weights.values()), np.float64)
    return list(weights)[int(generator.choice(len(values), p=values / values.sum()))]


def _contrast(generator: np.random.Generator, weights: Mapping[str, float], first: np.ndarray) -> str:
    """Pick a colour whose brightness or hue differs visibly from `first`, from a few draws."""
    from duoreid.datasets.synthetic.materials import COLOURS, linear

    names = [_pick(generator, weights) for _ in range(5)] + ["white", "black"]
    distances = [np.abs(np.sqrt(linear(COLOURS[n])) - np.sqrt(first[:3])).sum() for n in names[:5]]
    best = int(np.argmax(distances))
    if distances[best] < 0.5:
        return "white" if first[:3].mean() < 0.3 else "black"
    return names[best]
