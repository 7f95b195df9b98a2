r"""A user's own images: a tree of folders or a CSV file.

Tree: ROOT/{train,query,gallery}/IDENTITY/CAMERA/image.jpg; the CAMERA folders may be left out, and folders below them
mean nothing. Images directly in ROOT/train/, ROOT/gallery/, and all below ROOT/unlabelled/ are of unknown people: in
training they have no label, in a gallery they are nobody's match. ROOT without such folders holds training images of
unknown people, at any depth.
Names: a pattern (--camera-pattern), a regular expression with some of the named groups identity, camera and time, is
searched for in each path below ROOT and goes before the folders' names, e.g. (?P<identity>\d+)_c(?P<camera>\d+).
CSV: a header `path,identity,camera,split,modality,time`, of which only path is needed. Paths start from the CSV's
folder. Split is train (the default), query or gallery; modality is visible (the default) or infrared.
Identities and cameras may be any text; empty, -1 and unknown stand for none. What has no labelled query is not tested.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from duoreid.core.data import VISIBLE, Dataset, Search, Split, Trial
from duoreid.datasets.copies import check_copies
from duoreid.datasets.csv_index import SPLITS, Row, csv_file, csv_rows, known
from duoreid.datasets.errors import DatasetError, Problem, raise_fatal
from duoreid.datasets.files import DIGITS, entries, is_folder, is_image, subfolders
from duoreid.datasets.naming import Naming
from duoreid.datasets.walking import ELSEWHERE, LeftOut, is_ours, walk

UNLABELLED = ("unlabelled", "unlabeled")
NO_CAMERA = -1
TREE = """expected one of:
  ROOT/{train,query,gallery}/IDENTITY/CAMERA/image.jpg   (CAMERA/ may be left out)
  ROOT/unlabelled/image.jpg, ROOT/image.jpg              training images of unknown people
  ROOT/NAME.csv                                          with a header path,identity,camera,split,modality,time"""
OWN_CAMERA_COUNTS = (
    "no camera is known, so matches by the query's own camera count, which are easier: compare these numbers only with "
    "others of the same kind"
)
USUAL = re.compile(r"(?:^|[_-])c(?:am)?\d+")
"""How many datasets write the camera into a file's name."""


def read(root: Path, name: str, problems: list[Problem], pattern: str = "") -> Dataset:
    """Read a tree, or a CSV file: root itself or the only one in it. pattern: what names tell (`naming.Naming`).

    DatasetError where neither is there, or a part is; other problems are appended to `problems`.
    """
    rows = read_rows(root, problems, pattern)
    if not rows:
        raise_fatal(problems, str(root))
        raise DatasetError(f"{root} holds no image that can be read as a dataset; {TREE}")
    halves = Counter(row.split for row in rows)
    if bool(halves["query"]) != bool(halves["gallery"]):
        have, lack = ("query", "gallery") if halves["query"] else ("gallery", "query")
        raise DatasetError(
            f"{root} has {have} images but no {lack} images: a test needs both. Add the {lack}, or leave both out "
            "to train without a test."
        )
    rows.sort(key=lambda row: (SPLITS.index(row.split),))  # stable: the order within a split is kept
    identities = numbers([row.identity for row in rows])
    cameras = numbers([row.camera for row in rows])
    train, test = (
        _split(rows, identities, cameras, chosen)
        for chosen in ([r.split == "train" for r in rows], [r.split != "train" for r in rows])
    )
    _check_repeats(rows, problems)
    searches = _searches(test, halves["query"], problems)
    for search in searches:
        problems += check_copies(test, search)
    return Dataset(name, str(root), train, test, searches)


def read_rows(root: Path, problems: list[Problem], pattern: str = "") -> list[Row]:
    """Return the pictures of a tree or a CSV file, as they stand; what is left out goes to `problems`."""
    naming, index = Naming(pattern), csv_file(root)
    rows = list(csv_rows(index, problems, naming) if index else _tree_rows(root, naming, problems))
    problems += naming.problems()
    return rows


def _tree_rows(root: Path, naming: Naming, problems: list[Problem]) -> Iterator[Row]:
    left_out = LeftOut()
    inner = {folder.name.lower(): folder for folder in subfolders(root)}
    splits = [name for name in (*SPLITS, *UNLABELLED) if name in inner]
    if not splits:
        yield from _flat(root, naming, left_out, problems)
    for name in splits:
        for file, parts in walk(inner[name], left_out, root):
            yield _row(file, root, name, parts, naming)
    if splits:
        _beside(root, {inner[name] for name in splits}, left_out)
    tested = tuple(f"{inner[name]}/" for name in ("query", "gallery") if name in inner)
    problems += left_out.problems(tested)


def _flat(root: Path, naming: Naming, left_out: LeftOut, problems: list[Problem]) -> Iterator[Row]:
    """Yield all below a root without folders of splits, as training images."""
    deep = 0
    for file, parts in walk(root, left_out):
        told = naming.told(file.relative_to(root).as_posix())
        deep += bool(parts)
        yield Row(file, known(told.identity), known(told.camera), "train", VISIBLE, told.time)
    if deep and not naming.tells("identity"):
        text = (
            f"{root} has no folder train, query or gallery: all pictures below it are training images of unknown "
            "people, whatever their folders are called"
        )
        problems.append(Problem("layout", text, (), fatal=False))


def _row(file: Path, root: Path, name: str, parts: tuple[str, ...], naming: Naming) -> Row:
    """Return what folders and name tell of a picture: a group of the pattern goes before the folders."""
    told = naming.told(file.relative_to(root).as_posix())
    labelled = name in SPLITS
    identity, camera = [*(parts if labelled else (None, *parts)), None, None][:2]
    if naming.tells("identity"):
        identity, camera = told.identity, None  # the folders then mean something else
    if naming.tells("camera"):
        camera = told.camera
    return Row(file, known(identity), known(camera), name if labelled else "train", VISIBLE, told.time)


def _beside(root: Path, used: set[Path], left_out: LeftOut) -> None:
    """Note pictures that lie beside the folders of the splits."""
    for entry in entries(root):
        place = Path(entry.path)
        if not is_folder(entry):
            if is_image(entry.name):
                left_out.add(ELSEWHERE, entry.path)
        elif not entry.name.startswith(".") and place not in used and not is_ours(place):
            for file, _ in walk(place, LeftOut(), root):
                left_out.add(ELSEWHERE, str(file))


def numbers(names: list[str | None]) -> np.ndarray:
    """Return int32 numbers of names, -1 for None: their own where all are whole numbers, else by their order.

    >>> numbers(["0042", None, "7"]).tolist(), numbers(["b", "a", "10"]).tolist()
    ([42, -1, 7], [2, 1, 0])
    """
    distinct = sorted({name for name in names if name is not None})
    own = {name: int(name) for name in distinct if name.isdecimal() and len(name) <= DIGITS}
    natural = len(own) == len(distinct) == len(set(own.values())) and max(own.values(), default=0) < 2**31
    codes = own if natural else {name: index for index, name in enumerate(distinct)}
    return np.array([-1 if name is None else codes[name] for name in names], np.int32)


def _split(rows: list[Row], identities: np.ndarray, cameras: np.ndarray, chosen: list[bool]) -> Split:
    where = np.flatnonzero(chosen)
    return Split(
        tuple(str(rows[i].file.absolute()) for i in where),
        identities[where],
        cameras[where],
        np.array([rows[i].modality for i in where], np.uint8),
    )


def _searches(test: Split, queries: int, problems: list[Problem]) -> tuple[Search, ...]:
    """Return the one search, of the queries whose identity is known; none where there are no such queries."""
    query = np.flatnonzero(test.identities[:queries] >= 0).astype(np.int64)
    if len(query) < queries:
        text = f"{queries - len(query)} of {queries} queries have no identity and are not asked"
        problems.append(Problem("identities", text, (), fatal=False))
    if not len(query):
        return ()
    named = test.identities >= 0  # of the others no camera matters: they are nobody's match
    unknown = named & (test.cameras == NO_CAMERA)
    if unknown.any() and unknown.sum() < named.sum():
        text = (
            f"{int(unknown.sum())} of {int(named.sum())} query and gallery images have no camera: give one to all of "
            "them, or to none (then no gallery image is ignored), as a match by the query's own camera is not counted:"
        )
        problems.append(Problem("cameras", text, tuple(np.array(test.files)[unknown])))
    gallery = np.arange(queries, len(test), dtype=np.int64)
    if not unknown.any():
        return (Search("test", (Trial(query, gallery),)),)
    problems.append(Problem("cameras", OWN_CAMERA_COUNTS + _hint(test.files), (), fatal=False))
    return (Search("test", (Trial(query, gallery),), "nothing", remark=OWN_CAMERA_COUNTS),)


def _hint(files: tuple[str, ...]) -> str:
    """Return how names that seem to tell the camera can be read."""
    matching = [file for file in files if USUAL.search(Path(file).name)]
    if len(matching) < len(files):
        return ""
    return rf". The names seem to tell it ({Path(files[0]).name}): --camera-pattern 'c(?:am)?(?P<camera>\d+)'"


def _check_repeats(rows: list[Row], problems: list[Problem]) -> None:
    """Report files that occur twice where that would count an image double or train on a test image."""
    seen: dict[Path, list[Row]] = {}
    for row in rows:
        seen.setdefault(row.file, []).append(row)
    repeats = {file: repeated for file, repeated in seen.items() if len(repeated) > 1}
    twice = [f for f, repeated in repeats.items() if len({r.split for r in repeated}) < len(repeated)]
    both = [f for f, repeated in repeats.items() if {"train"} < {r.split for r in repeated}]
    for files, text in (
        (twice, "images listed twice in one split:"),
        (both, "images listed for both training and test:"),
    ):
        if files:
            problems.append(Problem("repeats", text, tuple(map(str, files))))
