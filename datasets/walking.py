"""Walking down a user's own folders: every picture at any depth, and an account of what is left out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from duoreid.datasets.errors import Problem
from duoreid.datasets.files import LEFT_OUT, OTHER, entries, is_folder, is_image, is_unread, unread_text

UNREAD = "of a format that is not read"
NO_PICTURE = "no picture"
NOWHERE = "a link that leads nowhere"
ROUND = "a link back to a folder that it lies in"
ELSEWHERE = "beside train, query, gallery and unlabelled"


class LeftOut:
    """Files below a root that are not used, by reason."""

    def __init__(self) -> None:
        self.files: dict[str, list[str]] = {}

    def add(self, reason: str, file: str) -> None:
        """Note one file. reason: one of the constants of this module, or any other text."""
        self.files.setdefault(reason, []).append(file)

    def problems(self, tested: tuple[str, ...] = ()) -> Iterator[Problem]:
        """Yield a finding for each reason.

        tested: folders of test images. A picture that is left out there changes what is measured, which the doctor
        does not let pass.
        """
        for reason, files in self.files.items():
            yield from _findings(reason, files, tested)


def _findings(reason: str, files: list[str], tested: tuple[str, ...]) -> Iterator[Problem]:
    text = {
        UNREAD: unread_text,
        NO_PICTURE: lambda number: f"{number} entries that are no images are ignored:",
        NOWHERE: lambda number: "image names that lead to no file (a broken symbolic link?):",
        ROUND: lambda number: f"{number} links that lead back to a folder they lie in are not followed:",
        ELSEWHERE: lambda number: f"{number} pictures that lie beside the folders of the splits are left out:",
    }.get(reason, lambda number: f"{number} pictures are left out, {reason}:")
    if reason == NO_PICTURE:
        yield Problem(OTHER, text(len(files)), tuple(files), False, reason=reason)
    elif reason == NOWHERE:
        yield Problem("unreadable", text(len(files)), tuple(files), reason=reason)
    else:
        test = [file for file in files if file.startswith(tested)] if tested else []
        rest = [file for file in files if file not in set(test)]
        if rest:
            yield Problem(LEFT_OUT, text(len(rest)), tuple(rest), False, reason=reason)
        if test:
            words = f"in query and gallery: {text(len(test))}"
            yield Problem(LEFT_OUT, words, tuple(test), False, unfit=True, reason=reason)


def walk(folder: Path, left_out: LeftOut, below: Path | None = None) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield (picture, names of the folders below `folder` that it lies in) at any depth, in order of their names.

    Pictures of a folder come before those of its sub-folders. Hidden files and folders are passed over, and so are
    runs and caches of this project. A link to a folder is followed, but not to one that it lies in, nor to `below`,
    the root that `folder` lies in.
    """
    above = (_identity(folder),) if below is None else (_identity(below), _identity(folder))
    yield from _walk(folder, (), above, left_out)


def _walk(
    folder: Path, parts: tuple[str, ...], above: tuple[tuple[int, int], ...], left_out: LeftOut
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    inner = []
    for entry in entries(folder):
        if is_folder(entry):
            if not entry.name.startswith("."):
                inner.append(entry)
            continue
        try:
            regular = entry.is_file()
        except OSError:  # a symbolic link that leads to itself
            regular = False
        if regular and is_image(entry.name):
            yield Path(entry.path), parts
        elif is_image(entry.name):
            left_out.add(NOWHERE, entry.path)
        elif regular and is_unread(entry.name):
            left_out.add(UNREAD, entry.path)
        elif parts or not _is_list(entry.name):
            left_out.add(NO_PICTURE, entry.path)
    for entry in inner:
        place = Path(entry.path)
        own = _identity(place)
        if own in above:
            left_out.add(ROUND, entry.path)
        elif not is_ours(place):
            yield from _walk(place, (*parts, entry.name), (*above, own), left_out)


def is_ours(folder: Path) -> bool:
    """Tell whether a folder is a run, a decoded image cache, or a folder of such caches."""
    if all((folder / name).is_file() for name in ("config.json", "metrics.jsonl")):
        return True
    caches = (folder, *folder.glob("*/"))
    return any(all((cache / name).is_file() for name in ("about.json", "images.npy")) for cache in caches)


def _is_list(name: str) -> bool:
    return name.lower().endswith(".csv")


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def summary(left_out: Mapping[str, tuple[str, ...]]) -> str:
    """Return how many files are left out and why, in one line; "" where there are none.

    >>> summary({UNREAD: ("a.heic", "b.heic"), NO_PICTURE: ("notes.txt",)})
    'left out: 2 of a format that is not read (e.g. a.heic), 1 no picture (e.g. notes.txt)'
    """
    parts = [f"{len(files)} {reason} (e.g. {Path(files[0]).name})" for reason, files in left_out.items() if files]
    return f"left out: {', '.join(parts)}" if parts else ""
