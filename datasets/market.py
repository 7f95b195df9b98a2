"""Market-1501 and DukeMTMC-reID, which share their layout (and so do the synthetic visible sets).

bounding_box_train, query and bounding_box_test hold the images; identity and camera are in each file's name.
Market-1501: 0002_c1s1_000451_03.jpg is identity 2, camera 1. In its gallery, identity -1 is junk (left out, as
the dataset's authors do) and 0000 is a distractor: it is nobody, and only the gallery may hold it.
DukeMTMC-reID: 0001_c2_f0046182.jpg is identity 1, camera 2. Occluded-DukeMTMC (Miao et al., ICCV 2019) has its names.
CUHK03-NP (Zhong et al., CVPR 2017), detected or labelled: 0001_c1_2.png is identity 1, camera 1. VeRi-776: veri.py.
"""

from __future__ import annotations

import re
from pathlib import Path

from duoreid.core.data import Dataset
from duoreid.datasets import veri
from duoreid.datasets.errors import DatasetError, Problem
from duoreid.datasets.files import images
from duoreid.datasets.roots import Part, require
from duoreid.datasets.table import Table, one_search

SPELLINGS = {
    "market1501": ("Market-1501-v15.09.15", "market1501"),
    "dukemtmc": ("DukeMTMC-reID", "dukemtmc"),
    "occluded-duke": ("Occluded_Duke", "Occluded-DukeMTMC-reID", "Occluded-DukeMTMC"),
    "cuhk03-detected": ("cuhk03-np/detected", "CUHK03/detected"),
    "cuhk03-labeled": ("cuhk03-np/labeled", "CUHK03/labeled"),
}
PARTS = (
    Part("bounding_box_train/", "training images"),
    Part("query/", "query images"),
    Part("bounding_box_test/", "gallery images"),
)
NAMING = {
    "market1501": re.compile(r"(-1|\d+)_c(\d+)s\d+_\d+_\d+\b"),
    "dukemtmc": re.compile(r"(\d+)_c(\d+)_f\d+\b"),
    "cuhk03": re.compile(r"(\d+)_c(\d)_\d+\b"),
    "veri776": re.compile(veri.PATTERN),
}
EXAMPLE = {
    "market1501": "0002_c1s1_000451_03.jpg",
    "dukemtmc": "0001_c2_f0046182.jpg",
    "cuhk03": "0001_c1_2.png",
    "veri776": veri.EXAMPLE,
}
JUNK, DISTRACTOR = -1, 0


def read(
    root: Path,
    name: str,
    problems: list[Problem],
    *,
    naming: str = "market1501",
    parts: tuple[Part, ...] = PARTS,
) -> Dataset:
    """Read the dataset that lies in root.

    naming: of its files, one of NAMING. parts: its folders of training, query and gallery images. Problems that do not
    prevent reading are appended to `problems`; DatasetError where a part is missing or empty.
    """
    places = require(root, name, parts)
    train, query, gallery = (_folder(places[part.path], naming, problems) for part in parts)
    for table, part in ((train, parts[0]), (query, parts[1])):
        strays = [f for f, identity in zip(table.files, table.identities, strict=True) if identity == DISTRACTOR]
        if strays and naming == "market1501":
            text = f"{part.path} holds images of identity 0000, which stands for distractors of the gallery:"
            problems.append(Problem("identities", text, tuple(strays)))
    test = Table()
    for table in (query, gallery):
        for row in zip(table.files, table.identities, table.cameras, strict=True):
            test.add(*row)
    search = one_search("test", len(query), len(test))
    return Dataset(name, str(root), train.split(), test.split(), (search,))


def _folder(folder: Path, naming: str, problems: list[Problem]) -> Table:
    table, unparsed, junk = Table(), [], []
    for file in images(folder, problems):
        match = NAMING[naming].match(file.name)
        if match is None:
            unparsed.append(str(file))
        elif int(match[1]) == JUNK:
            junk.append(str(file))
        else:
            table.add(file, int(match[1]), int(match[2]))
    if unparsed:
        text = f"names in {folder.name} that do not parse, expected names like {EXAMPLE[naming]}:"
        problems.append(Problem("names", text, tuple(unparsed)))
    if junk:
        problems.append(Problem("junk", f"junk (identity -1) left out of {folder.name}: {len(junk)} images", (), False))
    if not len(table):
        others = [
            other for other in NAMING if other != naming and any(NAMING[other].match(Path(f).name) for f in unparsed)
        ]
        hint = f" The names are those of {others[0]}: is this another dataset?" if others else ""
        raise DatasetError(
            f"{folder} holds no image with a name like {EXAMPLE[naming]} ({len(unparsed)} images with other "
            f"names, {len(junk)} junk).{hint} Unpack the archive again."
        )
    return table
