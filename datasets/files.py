"""Listing folders and reading small text files, with errors that name the place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from duoreid.datasets.decode import FORMATS, NOT_READ, suffixes
from duoreid.datasets.errors import DatasetError, Problem

DIGITS = 18
"""No number of a person or camera is longer."""

OTHER = "other files"
"""The check under which everything is noted that is no image."""

LEFT_OUT = "left out"
"""The check under which pictures are noted that are not used."""


def is_image(name: str) -> bool:
    """Tell whether a file of this name should be an image. Hidden files (macOS writes "._x.jpg") never are."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes()


def is_unread(name: str) -> bool:
    """Tell whether a file of this name is a picture of a format that is not read, or that this Pillow cannot read."""
    suffix = os.path.splitext(name)[1].lower()
    known = suffix in NOT_READ or any(suffix in suffixes for suffixes in FORMATS.values())
    return not name.startswith(".") and known and not is_image(name)


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return a folder's entries in order of their names; DatasetError where it cannot be listed."""
    try:
        with os.scandir(folder) as iterator:
            return sorted(iterator, key=lambda entry: entry.name)
    except OSError as error:
        raise DatasetError(
            f"cannot list {folder}: {error.strerror}. Check that it is a folder, that its permissions allow "
            "reading, and that no symbolic link leads to itself."
        ) from error


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a folder; a symbolic link that leads nowhere, or to itself, is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def subfolders(folder: Path) -> list[Path]:
    """Return the folders inside a folder, hidden ones left out, in order of their names."""
    return [Path(e.path) for e in entries(folder) if is_folder(e) and not e.name.startswith(".")]


def images(folder: Path, problems: list[Problem], *, nested: bool = False) -> Iterator[Path]:
    """Yield the image files directly inside a folder in order of their names, and note whatever else is there.

    nested: the folder may hold folders too, which are not worth a note. Hidden folders never are.
    """
    other: list[str] = []
    unread: list[str] = []
    for entry in entries(folder):
        try:
            regular = entry.is_file()
        except OSError:  # a symbolic link that leads to itself
            regular = False
        if regular and is_image(entry.name):
            yield Path(entry.path)
        elif is_image(entry.name) and not is_folder(entry):
            problems.append(
                Problem("unreadable", "image names that lead to no file (a broken symbolic link?):", (entry.path,))
            )
        elif regular and is_unread(entry.name):
            unread.append(entry.path)
        elif is_folder(entry) and (nested or entry.name.startswith(".")):
            continue  # a gallery of this library keeps its features in a hidden one
        else:
            other.append(entry.path)
    if unread:
        problems.append(Problem(LEFT_OUT, unread_text(len(unread)), tuple(unread), False))
    if other:
        problems.append(Problem(OTHER, f"{len(other)} entries that are no images are ignored:", tuple(other), False))


def unread_text(number: int) -> str:
    """Return what is said of so many pictures of formats that are not read."""
    return f"{number} pictures of formats that are not read are left out (convert them to PNG or JPEG to use them):"


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text file that are not blank, stripped; DatasetError where it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DatasetError(f"{file} is missing.") from error
    except OSError as error:
        raise DatasetError(f"cannot read {file}: {error.strerror}. Check its permissions.") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file} is not text in UTF-8: {error}. Fetch it again or convert it.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def inside(root: Path, relative: str, where: str) -> Path:
    """Return root/relative for a path that a list file names; DatasetError if it is not below the root.

    where: the file and line, for the error. Only the text of the path is judged: a user may well link parts of a
    dataset to another disk.
    """
    path = PurePosixPath(relative.replace("\\", "/"))
    parts = [part for part in path.parts if part != "."]
    absolute = path.is_absolute() or (parts and parts[0].endswith(":"))
    if absolute or ".." in parts or not parts or "\0" in relative:
        raise DatasetError(
            f"{where} names {relative!r}, expected a path below {root}. A list file may not lead out of its "
            "dataset: write the path relative to the dataset's folder, without '..'."
        )
    return root.joinpath(*parts)


class Listing:
    """Whether files exist, asked of each folder once: far faster than asking for each of 100,000 files."""

    def __init__(self) -> None:
        self._names: dict[Path, set[str]] = {}

    def __contains__(self, file: Path) -> bool:
        names = self._names.get(file.parent)
        if names is None:
            try:
                names = set(os.listdir(file.parent))
            except OSError:
                names = set()
            self._names[file.parent] = names
        return file.name in names


def labelled_lines(file: Path, root: Path, images_root: Path) -> Iterator[tuple[Path, int, str]]:
    """Yield (image, label, path as written) for the lines "path label" of a list file.

    root: of the dataset. images_root: the folder below it that the paths start from. DatasetError for lines of
    another form and for paths that lead out of it.
    """
    for number, line in enumerate(read_lines(file), start=1):
        where = f"{file.relative_to(root)}, line {number},"
        path, label = [*line.rsplit(maxsplit=1), "", ""][:2]
        if not label.isdecimal() or len(label) > DIGITS:
            raise DatasetError(
                f"{where} is {line[:80]!r}, expected a path, a space and a label, e.g. 'folder/image.jpg 12'. "
                "Is the file cut off, or of another dataset?"
            )
        yield inside(images_root, path, where), int(label), path
