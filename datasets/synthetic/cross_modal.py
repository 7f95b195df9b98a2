"""Visible-infrared sets in the layouts of SYSU-MM01 and RegDB, with their lists of identities and images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duoreid.core.random import rng
from duoreid.datasets.synthetic.plans import Item, Plan, sightings

VISIBLE, INFRARED = (1, 2, 4, 5), (3, 6)  # cameras of SYSU-MM01
TRIALS = range(1, 11)


@dataclass(frozen=True)
class SysuSize:
    """Numbers of identities and images. val: identities held out of training by some, and trained on by most."""

    train: int
    val: int
    test: int
    train_visible: int
    train_infrared: int
    test_visible: int
    test_infrared: int


SYSU_SIZES = {
    "tiny": SysuSize(8, 2, 6, 80, 40, 60, 24),
    "small": SysuSize(240, 40, 60, 2_400, 1_500, 900, 360),
    # SYSU-MM01's own counts, but for the visible test images, of which its protocol uses a part
    "market": SysuSize(296, 99, 96, 22_258, 11_909, 6_775, 3_803),
}


@dataclass(frozen=True)
class RegdbSize:
    """Numbers of identities of both halves of a trial, and of images of each in each modality."""

    train: int
    test: int
    images: int


REGDB_SIZES = {
    "tiny": RegdbSize(8, 8, 4),
    # people rather than images: what is learnt from few people does not carry over to others
    "small": RegdbSize(400, 100, 4),
    # RegDB's own
    "market": RegdbSize(206, 206, 10),
}


def sysu(name: str, size: SysuSize, seed: int) -> Plan:
    """Plan cam1 to cam6 and exp/{train,val,test}_id.txt, each one line of identities between commas."""
    generator = rng(seed, f"synthetic/{name}/plan")
    people = generator.permutation(size.train + size.val + size.test) + 1
    train, val, test = (np.sort(part) for part in np.split(people, [size.train, size.train + size.val]))
    items: list[Item] = []
    for who, cameras, total in (
        (np.sort(np.concatenate([train, val])), VISIBLE, size.train_visible),
        (np.sort(np.concatenate([train, val])), INFRARED, size.train_infrared),
        (test, VISIBLE, size.test_visible),
        (test, INFRARED, size.test_infrared),
    ):
        # three of four visible cameras, so that an indoor one is always among them
        for person, camera, count in sightings(
            generator, who, cameras, total, 1, (len(cameras) - len(cameras) // 4, len(cameras))
        ):
            items += [
                Item(f"cam{camera}/{person:04d}/{frame + 1:04d}.jpg", person, camera, frame) for frame in range(count)
            ]
    lists = {"train": train, "val": val, "test": test}
    texts = {f"exp/{part}_id.txt": ",".join(map(str, ids)) + "\n" for part, ids in lists.items()}
    return Plan(name, tuple(items), texts)


def regdb(name: str, size: RegdbSize, seed: int) -> Plan:
    """Plan Visible, Thermal and idx/{train,test}_{visible,thermal}_{1..10}.txt, lines "path label".

    Each trial trains on other people; labels count from 0 within each half, as RegDB's do.
    """
    people, images = size.train + size.test, size.images
    paths = {"visible": "Visible/{0}/v_{1:05d}_{0}.jpg", "thermal": "Thermal/{0}/t_{1:05d}_{0}.jpg"}
    files = {
        (modality, person): [path.format(person, images * (person - 1) + frame + 1) for frame in range(images)]
        for modality, path in paths.items()
        for person in range(1, people + 1)
    }
    items = [
        Item(path, person, camera, frame)
        for camera, modality in enumerate(paths, start=1)
        for person in range(1, people + 1)
        for frame, path in enumerate(files[modality, person])
    ]
    texts = {}
    for trial in TRIALS:
        order = rng(seed, f"synthetic/{name}/trial", trial).permutation(people) + 1
        halves = {"train": np.sort(order[: size.train]), "test": np.sort(order[size.train :])}
        for half, who in halves.items():
            for modality in paths:
                lines = [f"{path} {label}" for label, person in enumerate(who) for path in files[modality, int(person)]]
                texts[f"idx/{half}_{modality}_{trial}.txt"] = "\n".join(lines) + "\n"
    return Plan(name, tuple(items), texts)
