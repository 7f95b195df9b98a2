"""Options of the data that mean something to some datasets alone: nobody gives one in vain without being told."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import fields

from duoreid.core.data import Dataset
from duoreid.core.errors import UserError
from duoreid.core.settings.config import DataConfig

OF = {
    "camera_pattern": "pictures of your own, which a path or the name `folder` stands for",
    "size": "synthetic datasets",
    "data_seed": "synthetic datasets",
    "draws": "datasets whose galleries are drawn (sysu, llcm)",
}
"""Option -> the datasets that it is for; a dataset's `options` say which of them its reader has used."""

REFUSED = frozenset({"camera_pattern", "draws"})
"""Those that change who is on the pictures or what is found: in vain, they are a mistake."""


def unused_options(config: DataConfig, datasets: Iterable[Dataset]) -> list[str]:
    """Return a sentence for each option that differs from its default and that no dataset has used.

    UserError for one that would change who is on the pictures, or what is found.

    >>> import numpy as np
    >>> from duoreid.core.data import Split
    >>> split = Split((), np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.uint8))
    >>> unused_options(DataConfig("data", size="tiny"), [Dataset("market1501", "", split, split, ())])
    ['--size tiny is not used: it is for synthetic datasets, and market1501 is none.']
    """
    datasets = list(datasets)
    defaults = {item.name: item.default for item in fields(DataConfig)}
    used: Collection[str] = {option for dataset in datasets for option in dataset.options}
    told = []
    for name, of in OF.items():
        value = getattr(config, name)
        if value == defaults[name] or name in used:
            continue
        which = ", ".join(dict.fromkeys(dataset.name for dataset in datasets))
        verb = "are none" if "," in which else "is none"
        said = f"--{name.replace('_', '-')} {value} is not used: it is for {of}, and {which} {verb}."
        if name in REFUSED:
            raise UserError(f"{said} Leave it out.")
        told.append(said)
    if config.cache_folder and not config.cache:
        told.append(f"--cache-folder {config.cache_folder} is not used: --no-cache keeps no decoded images.")
    return told
