"""`duoreid calibrate`: labelled images to a threshold for "nobody", stored in the model's file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duoreid.core.commands.command import guarded
from duoreid.core.commands.loading import Load, open_model, parser
from duoreid.core.commands.parsing import Parser
from duoreid.core.errors import UserError
from duoreid.core.settings.config import DataConfig

if TYPE_CHECKING:
    from duoreid.core.data import Images, OpenData, Split
    from duoreid.core.openset import Comparison
    from duoreid.core.serving.model import Model
    from duoreid.core.threshold import Point, Threshold

PARTS = ("test", "train")
CHUNK = 64


@dataclass(frozen=True)
class Asked:
    """Who asks whom. about: in words. compare: features (N, D) of the images -> their comparison."""

    images: Images
    about: str
    compare: Callable[[np.ndarray, int], Comparison]


def main(
    load: Load,
    open_data: Callable[..., OpenData],
    words: Sequence[str] | None = None,
    prog: str = "duoreid calibrate",
) -> int:
    """Run the command line; return the exit status. load: `duoreid.load`. open_data: opens a dataset by name."""
    return guarded(lambda: _calibrate(load, open_data, words, prog))


def build(prog: str = "duoreid calibrate") -> Parser:
    """Return the argument parser."""
    made = parser(
        prog,
        f"{prog} MODEL --dataset NAME --data DIR [OPTIONS]",
        "Measure from which similarity on a match is to be believed: the threshold that keeps a false-accept rate, by "
        "gallery size, with intervals over identities. It is stored in the model's file, and used by `search`, `group` "
        "and `serve`. The images must show people whom the model was not trained on.",
        [
            f"{prog} runs/mmt-torch --dataset folder --data labelled/",
            f"{prog} network.onnx --dataset market1501 --data /data --far 0.001",
        ],
        pattern=False,
    )
    made.add_argument("--dataset", required=True, metavar="NAME", help="dataset of labelled images; folder: one's own")
    made.add_argument("--data", default="data", metavar="DIR", help="folder that holds it (default: data)")
    made.add_argument("--part", choices=PARTS, help="its test or training images (default: test, where it has any)")
    made.add_argument("--far", type=float, default=0.01, help="false-accept rate to keep (default: 0.01)")
    made.add_argument("--sizes", type=int, nargs="+", metavar="N", help="gallery sizes (default: 100 1000 10000)")
    made.add_argument("--dry-run", action="store_true", help="print the threshold, and store nothing")
    for name, default, text in (
        ("resamples", 200, "resamples of the bootstrap"),
        ("seed", 0, "seed of the bootstrap"),
        ("data-seed", 0, "seed of the synthetic datasets"),
    ):
        made.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default: {default})").everyday = False
    return made


def _calibrate(load: Load, open_data: Callable[..., OpenData], words: Sequence[str] | None, prog: str) -> None:
    given = vars(build(prog).parse_args(words))

    from tqdm import tqdm

    from duoreid.core.openset import FARS, SIZES, calibrate
    from duoreid.core.serving.storing import require_room, store

    model = open_model(load, given)
    if not given["dry_run"]:
        require_room(Path(model.source))
    sizes = sorted(set(given["sizes"] or SIZES))
    if sizes[0] < 1:
        raise UserError(f"--sizes counts images of a gallery, at least 1, got {sizes[0]}.")
    height, width = model.size
    config = DataConfig(
        data=given["data"],
        height=height,
        width=width,
        interpolation=model.description.interpolation,
        data_seed=given["data_seed"],
    )
    opened = open_data(given["dataset"], config)
    asked = choose(opened, given["part"])
    comparison = asked.compare(embed(model, asked.images), sizes[0])
    with tqdm(total=given["resamples"], desc="bootstrap", disable=None, leave=False) as bar:
        threshold = calibrate(
            comparison,
            dataset=opened.dataset.name,
            far=given["far"],
            more=FARS,
            sizes=sizes,
            resamples=given["resamples"],
            seed=given["seed"],
            progress=lambda: bar.update() and None,
        )
    threshold = replace(threshold, digest=model.digest)
    if not given["dry_run"]:
        store(Path(model.source), threshold)
    stored = None if given["dry_run"] else model.source
    if given["json"]:
        print(json.dumps({"model": model.source, "stored": stored, "asked": asked.about, **threshold.to_dict()}))
    else:
        print(text(threshold, model, asked.about, stored))


def embed(model: Model, images: Images) -> np.ndarray:
    """Return the features, float32 (N, D), of images that have the model's size."""

    def each() -> Iterator[np.ndarray]:
        for start in range(0, len(images), CHUNK):
            yield from images[np.arange(start, min(start + CHUNK, len(images)))]

    return model.embed(each())


def choose(opened: OpenData, part: str | None) -> Asked:
    """Return which images ask which.

    Every labelled image of a person who is asked for asks all others. Where a test pairs visible with infrared images,
    its own first draw holds instead. UserError where nobody is labelled.
    """
    from duoreid.core.searches import compare_draw

    dataset = opened.dataset
    if part is None:
        part = "test" if dataset.searches else "train"
    if part == "train":
        return _all_to_all(opened.train, dataset.train, dataset.train.identities, "training images")
    if not dataset.searches:
        raise UserError(f"{dataset.name} has no labelled queries to calibrate by: give --part train, or label some.")
    search = dataset.searches[0]
    if len(np.unique(dataset.test.modalities)) > 1:
        draw = search.trials[0]
        return Asked(
            opened.test,
            f"{len(draw.query):,} queries of the search {search.name!r}, first draw of {len(draw.gallery):,} images",
            lambda features, smallest: compare_draw(features, dataset, search, draw, smallest=smallest),
        )
    people = np.unique(dataset.test.identities[search.trials[0].query])
    identities = np.where(np.isin(dataset.test.identities, people), dataset.test.identities, -1)
    what = "test images" if dataset.frames is None else "first images of test tracklets"  # as pictures are searched for
    return _all_to_all(opened.test, dataset.test, identities, what, cameras=search.ignore != "nothing")


def _all_to_all(images: Images, split: Split, identities: np.ndarray, what: str, cameras: bool = True) -> Asked:
    from duoreid.core.openset import compare

    cameras = cameras and bool((split.cameras >= 0).all())
    # without cameras, another image of a person counts whatever camera took it: each gets a camera of its own
    of = split.cameras if cameras else np.arange(len(split))
    rule = "matches of one's own camera left out" if cameras else "cameras unknown: a match may be of the same one"
    labelled = int((identities >= 0).sum())
    if not labelled:
        raise UserError(f"none of the {len(split):,} {what} is labelled: a threshold needs known people.")
    return Asked(
        images,
        f"{labelled:,} labelled {what}, each against the {len(split) - 1:,} others; {rule}",
        lambda features, smallest: compare(features, None, identities, None, of, None, smallest=smallest),
    )


def text(threshold: Threshold, model: Model, about: str, stored: str | None) -> str:
    """Return the table that is printed."""
    from duoreid.core.training.tables import table

    header = ("false accepts", "gallery", "threshold", "95% interval", "unseen people", "true matches", "95% interval")
    lines = [
        f"{model.source} ({model.description.network}) on {threshold.dataset}: {about}",
        "",
        table(header, [_cells(one) for one in threshold.points]),
    ]
    if any(one.extrapolated for one in threshold.points):
        lines.append(
            f"*: more than the {threshold.strangers:,} strangers here; extrapolated from each query's nearest."
        )
    lines.append("unseen people: the rates that as many other people are expected to give at such a threshold (95%).")
    for far in threshold.unsupported:
        lines.append(
            f"{threshold.queries:,} searches are too few for a false-accept rate of {far:g}: the smallest that they "
            f"support is {1 / threshold.queries:.2g}."
        )
    lines.append(
        f"stored in {stored}; without another word {threshold.far:g} holds."
        if stored
        else "nothing was stored (--dry-run)."
    )
    return "\n".join(lines)


def _cells(point: Point) -> list[str]:
    def percent(*shares: float) -> str:
        return " - ".join(f"{100 * share:.3g}" for share in shares) + "%"

    return [
        f"{100 * point.far:g}%",
        f"{point.size:,}{'*' if point.extrapolated else ' '}",
        f"{point.threshold:.3f}",
        " - ".join(f"{value:.3f}" for value in point.threshold_interval),
        percent(*point.far_interval),
        percent(point.true_match_rate),
        percent(*point.match_interval),
    ]
