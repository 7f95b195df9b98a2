"""A small dataset with features, of which the tests of reports make their pages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from duoreid.core.data import INFRARED, VISIBLE, Dataset, OpenData, Search, Split, Trial
from duoreid.core.report.draws import Draw
from duoreid.core.report.gather import Material, tested
from duoreid.core.report.records import Records
from duoreid.core.settings.config import as_dict
from duoreid.core.settings.presets import presets
from tests.core.features import clustered

PEOPLE, EACH, CAMERAS = 12, 8, 4


class Pictures:
    """Images that are made when they are asked for: each of one grey."""

    def __init__(self, count: int, height: int = 32, width: int = 16) -> None:
        self.shape = (count, height, width, 3)
        self.asked = 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self.asked += len(rows)
        return np.broadcast_to(
            (np.asarray(rows) % 200).astype(np.uint8)[:, None, None, None], (len(rows), *self.shape[1:])
        )


def split(identities: np.ndarray, cameras: np.ndarray, name: str = "image") -> Split:
    count = len(identities)
    kinds = np.full(count, VISIBLE, np.uint8)
    return Split(tuple(f"/data/{name}-{row}.jpg" for row in range(count)), identities, cameras, kinds)


def draw(seed: int, ignore: str = "same-camera", noise: float = 1.0) -> Draw:
    """Return a draw of a test in which the first image of each person at each camera asks for the others."""
    random = np.random.default_rng(seed)
    features, people = clustered(random, PEOPLE * EACH, PEOPLE, noise=noise)
    cameras = random.integers(1, CAMERAS + 1, len(people)).astype(np.int32)
    test = split(people.astype(np.int32), cameras)
    rows = random.permutation(len(people))
    search = Search("test", (Trial(rows[:20], rows[20:]),), ignore)
    return Draw(features, Dataset("example", "/data", test, test, (search,)), search, search.trials[0])


def material(folder: Path | None = None, *, across: bool = False) -> Material:
    """Return what a report of a small run is made of."""
    one = draw(5)
    dataset = one.dataset
    if across:
        kinds = (dataset.test.cameras > 2).astype(np.uint8)
        test = Split(dataset.test.files, dataset.test.identities, dataset.test.cameras, kinds)
        here, there = np.flatnonzero(kinds == VISIBLE), np.flatnonzero(kinds == INFRARED)
        searches = (Search("visible to thermal", (Trial(here, there),), "nothing"),)
        searches += (Search("thermal to visible", (Trial(there, here),), "nothing"),)
        dataset = Dataset("example", "/data", test, test, searches)
    opened = OpenData(dataset, Pictures(len(dataset.train)), Pictures(len(dataset.test)))
    features = {"teacher1": one.features, "teacher2": one.features}
    preset = as_dict(presets()["synthetic"])
    settings = json.loads(json.dumps(preset)) | {"backend": {"about": "torch on a CPU"}}
    settings["run"]["seed"] = 7
    return Material(
        "a run",
        seed=7,
        records=Records(folder or Path("runs/a-run"), settings, events(), {"stage_seconds": {"stage 1": 3.0}}),
        preset=preset,
        opened=opened,
        features=features,
        results=tested(features, opened),
        published={search.name: {"the paper": (71.2, 87.7)} for search in dataset.searches},
        labels=(dataset.train.identities // 2).astype(np.int64),
        labels_words="The labels of the last epoch.",
        threshold=0.5,
        find=lambda images: images.mean(3)[None, :, ::8, ::8],
    )


def events() -> list[dict]:
    """Return the lines of a log: one stage of two networks, then two epochs of two teachers."""
    lines: list[dict] = [
        {"event": "run", "seconds": 0.0, "backend": "torch", "about": "torch on a CPU", "processes": 1}
    ]
    for network in (1, 2):
        lines.append(_epoch(f"stage 1, network {network}", 0, {"hard_ce": 4.0, "total": 5.0}, {}))
        lines.append(_test(f"source only, network {network}", 0.3 + 0.01 * network))
    for epoch in (0, 1):
        facts = {"clusters": 6.0, "outliers": 1.0, "adjusted_rand": 0.4 + 0.1 * epoch}
        lines.append(_epoch("mmt", epoch, {"hard_ce": 3.0 - epoch, "total": 4.0 - epoch}, facts))
        lines += [_test(f"epoch {epoch + 1}, teacher {one}", 0.4 + 0.1 * epoch + 0.01 * one) for one in (1, 2)]
    return lines


def _epoch(stage: str, epoch: int, losses: dict, facts: dict) -> dict:
    return {"event": "epoch", "seconds": 9.0, "stage": stage, "epoch": epoch, "losses": losses, "facts": facts}


def _test(network: str, score: float) -> dict:
    return {"event": "test", "seconds": 9.0, "network": network, "search": "test", "mean_ap": score, "rank1": score}
