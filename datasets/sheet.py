"""The sheet of a dataset: a page to look at before anyone trains on it. Written by `datasets.doctor --html`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from duoreid.core.data import VISIBLE, Dataset, Split
from duoreid.core.report import page
from duoreid.core.report.atlas import Atlas
from duoreid.core.report.blocks import Block, Figure, Figures, Page, Picture, Section, Strip, Strips, Table, Text
from duoreid.core.report.charts import bars, histogram
from duoreid.datasets.decode import ImageError, open_rgb
from duoreid.datasets.diagnosis import Diagnosis, verdict
from duoreid.datasets.inspection import Seen

EXAMPLES, EXTREMES, TWINS, OF_TWINS, NAMED = 10, 10, 20, 5, 12
"""Pictures of a camera, of the extremes; groups of duplicates, pictures of such a group; names of a finding."""

BOX = (96, 48)
"""Height and width of a thumbnail: a person's proportions."""

MISSING = np.full((*BOX, 3), 90, np.uint8)
"""Stands for an image that cannot be decoded."""

require = page.require


class Files:
    """Images that are decoded when they are asked for, at their own sizes."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.shape = (len(split), *BOX, 3)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, rows: np.ndarray) -> list[np.ndarray]:
        if self.split.pixels is not None:
            return [self.split.pixels[np.array([row])][0] for row in rows]
        return [_decoded(self.split.files[row]) for row in rows]


def _decoded(file: str) -> np.ndarray:
    try:
        return np.asarray(open_rgb(file))
    except ImageError:
        return MISSING


def write(diagnosis: Diagnosis, path: str | os.PathLike[str]) -> Path:
    """Write the sheet of a dataset that the doctor has examined; return its path."""
    atlas = Atlas(*BOX)
    made = Page(
        diagnosis.name,
        diagnosis.root,
        list(_sections(diagnosis, atlas)),
        [(f"{row['found']:,}", str(row["what"])) for row in diagnosis.counts[:6]],
        "Pictures are thumbnails; the doctor has looked at the whole files.",
    )
    page.write(made, atlas, Path(path))
    return Path(path)


def _sections(diagnosis: Diagnosis, atlas: Atlas) -> Iterator[Section]:
    lead = f"Verdict: {verdict(diagnosis)}."
    yield Section("findings", "What was found, and what is left out", lead, _findings(diagnosis))
    dataset = diagnosis.dataset
    if dataset is None:
        return
    halves = [(name, split, Files(split)) for name, split in _halves(dataset)]
    words = "People should stand upright and fill the picture; cameras may differ in light, not in what they show."
    yield Section("cameras", "Examples of each camera", words, list(_examples(halves, atlas)))
    words = "A camera with few people teaches little; people whom one camera sees cannot be searched across cameras."
    yield Section("people", "People and cameras", words, [Figures(list(_charts(halves)))])
    if diagnosis.seen:
        words = "Pictures much smaller than the network's input are blurred by enlarging, others lose detail."
        yield Section("sizes", "Sizes", words, _sizes(diagnosis.seen, atlas))
        words = "Files of the same bytes. Between training and test they make the scores too good."
        yield Section("duplicates", "Duplicates", words, _duplicates(diagnosis.seen, dataset, atlas))


def _halves(dataset: Dataset) -> list[tuple[str, Split]]:
    return [(name, split) for name, split in (("training", dataset.train), ("test", dataset.test)) if len(split)]


def _findings(diagnosis: Diagnosis) -> list[Block]:
    rows = []
    for problem in diagnosis.problems:
        examples = [*problem.examples[:NAMED]]
        if len(problem.examples) > NAMED:
            examples.append(f"and {len(problem.examples) - NAMED} more")
        kind = "problem" if problem.fatal else "remark"
        rows.append([kind, problem.check, _plain(problem.text), _plain("; ".join(examples))])
    if not rows:
        return [Text("Nothing: every file below the folder is used, and nothing is wrong with any of them.")]
    return [Table(["", "check", "finding", "files"], rows, words=True)]


def _plain(text: str) -> str:
    """Return text that can be written: names of files need not be."""
    return text.encode(errors="backslashreplace").decode()


def _examples(halves: Sequence[tuple[str, Split, Files]], atlas: Atlas) -> Iterator[Strips]:
    for name, split, images in halves:
        strips = []
        for camera in np.unique(split.cameras):
            rows = np.flatnonzero(split.cameras == camera)
            people = len(np.unique(split.identities[rows]))
            _, first = np.unique(split.identities[rows], return_index=True)
            shown = rows[np.sort(first)]
            shown = shown[np.unique(np.linspace(0, len(shown) - 1, EXAMPLES).round().astype(int))]
            places = atlas.add(images, shown)
            pictures = [
                Picture(place, f"{_person(split, row)}", "", _plain(split.files[row]))
                for place, row in zip(places, shown, strict=True)
            ]
            kind = "" if split.modalities[rows[0]] == VISIBLE else ", infrared"
            title = f"Camera {camera}{kind}" if camera >= 0 else f"No camera known{kind}"
            strips.append(Strip(title, f"{len(rows):,} images of {people:,} people", pictures))
        yield Strips(name.capitalize(), "", strips)


def _person(split: Split, row: int) -> str:
    identity = int(split.identities[row])
    return f"{identity}" if identity >= 0 else "unknown"


def _charts(halves: Sequence[tuple[str, Split, Files]]) -> Iterator[Figure]:
    for name, split, _ in halves:
        cameras = np.unique(split.cameras)
        names = [str(camera) for camera in cameras]
        known = split.identities >= 0
        yield Figure(
            f"Images of each camera, {name}",
            bars(names, [int((split.cameras == camera).sum()) for camera in cameras], "camera", "images"),
        )
        if not known.any():
            continue
        people = [len(np.unique(split.identities[known & (split.cameras == camera)])) for camera in cameras]
        yield Figure(f"People before each camera, {name}", bars(names, people, "camera", "people", 3))
        counts = np.unique(split.identities[known], return_counts=True)[1]
        width = max(1, -(-int(counts.max()) // 40))
        edges = np.arange(0.5, counts.max() + width + 0.5, width)
        svg = histogram(edges, [("people", np.histogram(counts, edges)[0], 2)], "images", "people", whole=True)
        yield Figure(f"Images of each person, {name}", svg, f"The middle person has {np.median(counts):g}.")
        pairs = np.unique(np.stack([split.identities[known], split.cameras[known]]), axis=1)
        seen_by = np.unique(pairs[0], return_counts=True)[1]
        edges = np.arange(0.5, seen_by.max() + 1.5)
        svg = histogram(edges, [("people", np.histogram(seen_by, edges)[0], 4)], "cameras", "people", whole=True)
        alone = int((seen_by == 1).sum())
        yield Figure(f"Cameras that see each person, {name}", svg, f"{alone:,} people are seen by one camera only.")


def _sizes(seen: Sequence[Seen], atlas: Atlas) -> list[Block]:
    good = [one for one in seen if not one.error]
    if not good:
        return [Text("No image can be decoded.")]
    figures = []
    for side in ("height", "width"):
        values = np.array([getattr(one, side) for one in good])
        low, high = int(values.min()), int(values.max())
        edges = np.linspace(low - 0.5, high + 0.5, min(40, high - low + 1) + 1)
        svg = histogram(edges, [(side, np.histogram(values, edges)[0], 1)], f"{side} in pixels", "images", whole=True)
        figures.append(Figure(side.capitalize(), svg, f"{low} to {high}, the middle one {np.median(values):g}."))
    order = sorted(good, key=lambda one: (one.width * one.height, one.file))
    return [
        Figures(figures),
        Strips("The smallest", "", [_pictures(order[:EXTREMES], atlas)]),
        Strips("The largest", "", [_pictures(order[: -EXTREMES - 1 : -1], atlas)]),
    ]


def _pictures(chosen: Sequence[Seen], atlas: Atlas) -> Strip:
    pictures = [
        Picture(atlas.add_array(_decoded(one.file)), f"{one.width} x {one.height}", "", _plain(one.file))
        for one in chosen
    ]
    return Strip("", "width x height in pixels", pictures)


def _duplicates(seen: Sequence[Seen], dataset: Dataset, atlas: Atlas) -> list[Block]:
    groups: dict[bytes, list[str]] = {}
    for one in seen:
        if not one.error:
            groups.setdefault(one.digest, []).append(one.file)
    twins = sorted((files for files in groups.values() if len(files) > 1), key=len, reverse=True)
    if not twins:
        return [Text("There are none.")]
    where = {
        file: f"{name}\n{_person(split, row)}"
        for name, split in reversed(_halves(dataset))
        for row, file in enumerate(split.files)
    }
    strips = []
    for files in twins[:TWINS]:
        place = atlas.add_array(_decoded(files[0]))
        pictures = [Picture(place, where.get(file, ""), "", _plain(file)) for file in files[:OF_TWINS]]
        strips.append(
            Strip(f"{len(files)} files", _plain(", ".join(Path(file).name for file in files[:OF_TWINS])), pictures)
        )
    words = f"{len(twins):,} groups" + (f", of which the largest {TWINS} are shown." if len(twins) > TWINS else ".")
    return [Strips("", words, strips)]
