"""From a word to images ready for training: generate what is synthetic and absent, read, decode or map the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from duoreid.core.data import Images, OpenData, Split
from duoreid.core.settings.config import DataConfig
from duoreid.core.tracklets import firsts
from duoreid.datasets import open_dataset
from duoreid.datasets.cache import load_images
from duoreid.datasets.errors import DatasetError
from duoreid.datasets.images import Chosen
from duoreid.datasets.joining import join
from duoreid.datasets.opening import OWN, Place, is_drawn, places
from duoreid.datasets.synthetic import NAMES, generate
from duoreid.datasets.synthetic.writer import MANIFEST


def open_data(word: str, config: DataConfig, trial: int = 1) -> OpenData:
    """Open a dataset, with its images at the configured size.

    word: a dataset's name, which lies under DATA; NAME=PATH; or a path of one's own pictures. Several of these with
    commas between are one dataset to learn from (datasets/joining.py). trial: the training split, of a dataset that has
    several (RegDB: 1 to 10).
    """
    named = places(word, config.data)
    opened = [_open(place, config, trial, tested=len(named) == 1) for place in named]
    return opened[0] if len(opened) == 1 else join(opened)


def _options(name: str) -> tuple[str, ...]:
    """Return the options of core/settings/unused.py that a dataset is read by."""
    options = ("camera_pattern",) if name == OWN else ("size", "data_seed") if name in NAMES else ()
    return (*options, "draws") if is_drawn(name) else options


def _open(place: Place, config: DataConfig, trial: int, *, tested: bool) -> OpenData:
    name, root, data = place.name, place.root, Path(config.data)
    if root.is_file() and name != OWN:
        raise DatasetError(f"--data {root} is a file: give the folder that holds {name}, or is to hold it.")
    if name in NAMES and not (root / MANIFEST).is_file():  # a root that is a set itself is read as it stands
        generate(name, root, size=config.size, seed=config.data_seed)
    # What a checkpoint says of its own dataset means nothing to another one; who asks for it in vain is refused by
    # core/settings/unused.py.
    pattern = config.camera_pattern if name == OWN else ""
    draws = config.draws if is_drawn(name) else "own"
    dataset = open_dataset(name, root, trial=trial, pattern=pattern, draws=draws)
    dataset = replace(dataset, options=_options(name))
    beside = data.parent if data.is_file() else data  # a CSV file of a user's own images
    folder = Path(config.cache_folder or beside / "cache") if config.cache else None

    def images(split: Split) -> Images:
        return load_images(split, config.height, config.width, interpolation=config.interpolation, folder=folder)

    train = images(dataset.train)
    if not tested:
        return OpenData(dataset, train, train)
    if dataset.frames is None:
        return OpenData(dataset, train, images(dataset.test))
    frames = images(dataset.frames)
    return OpenData(dataset, train, Chosen(frames, firsts(dataset.frames.tracklets)), frames)
