"""From a name to images ready for training: generate what is synthetic and absent, read, decode or map the cache."""

from __future__ import annotations

from pathlib import Path

from core.config import DataConfig
from core.pipeline import OpenData
from datasets import open_dataset
from datasets.cache import load_images
from datasets.synthetic import NAMES, generate


def open_data(name: str, config: DataConfig) -> OpenData:
    """Open a dataset by name under DATA, with its images at the configured size; the first of `config.trials`."""
    if name in NAMES:
        generate(name, Path(config.data), size=config.size, seed=config.data_seed)
    dataset = open_dataset(name, config.data, trial=config.trials[0] if config.trials else 1)
    folder = Path(config.cache_folder or Path(config.data) / "cache") if config.cache else None
    images = {
        split: load_images(
            getattr(dataset, split), config.height, config.width, interpolation=config.interpolation, folder=folder
        )
        for split in ("train", "test")
    }
    return OpenData(dataset, **images)
