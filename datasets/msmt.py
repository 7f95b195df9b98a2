"""MSMT17, versions 1 and 2.

list_{train,val,query,gallery}.txt hold lines "0000/0000_000_01_0303morning_0008_0.jpg 0": a path below the folder of
training or test images, and the identity. The camera is the third number of the file's name. Training and test
number their identities each from 0, so identity 0 of one is not identity 0 of the other.
"""

from __future__ import annotations

import re
from pathlib import Path

from duoreid.core.data import Dataset
from duoreid.datasets.errors import DatasetError, Problem
from duoreid.datasets.files import Listing, labelled_lines
from duoreid.datasets.roots import Part, require
from duoreid.datasets.table import Table, one_search

SPELLINGS = ("MSMT17_V1", "MSMT17_V2", "msmt17", "MSMT17")
PARTS = (
    Part("train/", "training images (mask_train_v2/ in version 2)", ("mask_train_v2/", "mask_train_V2/")),
    Part("test/", "query and gallery images (mask_test_v2/ in version 2)", ("mask_test_v2/", "mask_test_V2/")),
    Part("list_train.txt", "training list"),
    Part("list_val.txt", "validation list, trained on too"),
    Part("list_query.txt", "query list"),
    Part("list_gallery.txt", "gallery list"),
)
NAME = re.compile(r"\d+_\d+_(\d+)_")
EXAMPLE = "0000_000_01_0303morning_0008_0.jpg"


def read(root: Path, name: str, problems: list[Problem]) -> Dataset:
    """Read MSMT17 from its own folder. DatasetError where a part is missing; others go to `problems`."""
    places = require(root, name, PARTS)
    train, test = Table(), Table()
    for kind in ("train", "val"):
        _list(places[f"list_{kind}.txt"], root, places["train/"], train, problems)
    _list(places["list_query.txt"], root, places["test/"], test, problems)
    queries = len(test)
    _list(places["list_gallery.txt"], root, places["test/"], test, problems)
    return Dataset(name, str(root), train.split(), test.split(), (one_search("test", queries, len(test)),))


def _list(file: Path, root: Path, folder: Path, table: Table, problems: list[Problem]) -> None:
    listing, missing, unparsed, before = Listing(), [], [], len(table)
    for image, label, written in labelled_lines(file, root, folder):
        match = NAME.match(image.name)
        if match is None:
            unparsed.append(f"{file.name}: {written}")
        elif image not in listing:
            missing.append(str(image))
        else:
            table.add(image, label, int(match[1]))
    if unparsed:
        text = f"names in {file.name} that do not parse, expected names like {EXAMPLE}:"
        problems.append(Problem("names", text, tuple(unparsed)))
    if missing:
        text = f"{len(missing)} images that {file.name} lists are not in {folder.name}:"
        problems.append(Problem("missing", text, tuple(missing)))
    if len(table) == before:
        fault = f"{len(missing)} lines name images that are not there{', e.g. ' + missing[0] if missing else ''}"
        raise DatasetError(
            f"{file} yields no image ({fault}; {len(unparsed)} names do not parse), expected names like {EXAMPLE}. "
            f"Do the lists and the folder {folder.name} come from the same version of MSMT17?"
        )
