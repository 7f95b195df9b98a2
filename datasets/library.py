"""From a name to images ready for training: generate what is synthetic and absent, read, decode or map the cache."""

from __future__ import annotations

from pathlib import Path

from duoreid.core.data import OpenData
from duoreid.core.settings.config import DataConfig
from duoreid.datasets import open_dataset
from duoreid.datasets.cache import load_images
from duoreid.datasets.errors import DatasetError
from duoreid.datasets.synthetic import NAMES, generate


def open_data(name: str, config: DataConfig, trial: int = 1) -> OpenData:
    """Open a dataset by name under DATA, with its images at the configured size.

    trial: the training split, of a dataset that has several (RegDB: 1 to 10).
    """
    place = Path(config.data)
    if place.is_file() and name != "folder":
        raise DatasetError(f"--data {place} is a file: give the folder that holds {name}, or is to hold it.")
    if name in NAMES:
        generate(name, Path(config.data), size=config.size, seed=config.data_seed)
    dataset = open_dataset(name, config.data, trial=trial)
    beside = place.parent if place.is_file() else place  # a CSV file of a user's own images
    folder = Path(config.cache_folder or beside / "cache") if config.cache else None
    images = {
        split: load_images(
            getattr(dataset, split), config.height, config.width, interpolation=config.interpolation, folder=folder
        )
        for split in ("train", "test")
    }
    return OpenData(dataset, **images)
