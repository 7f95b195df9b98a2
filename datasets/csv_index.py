"""The CSV form of a user's own dataset."""

from __future__ import annotations

import csv
import difflib
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from duoreid.core.data import INFRARED, VISIBLE
from duoreid.core.errors import unknown
from duoreid.datasets.errors import DatasetError, Problem, listed
from duoreid.datasets.files import Listing, inside
from duoreid.datasets.naming import Naming

COLUMNS = ("path", "identity", "camera", "split", "modality", "time")
OTHER_NAMES = {"date": "time"}
"""Names that the metadata.csv of wildlife datasets gives to columns."""

ASIDE = ("certainty",)
"""Columns that may stand beside them without a remark: `group` writes `certainty`, a dataset needs it not."""

SPLITS = ("train", "query", "gallery")
MODALITIES = {"visible": VISIBLE, "infrared": INFRARED}
HEADER = ",".join(COLUMNS)
NOBODY = frozenset({"", "-1", "unknown"})
"""What stands for an identity or a camera that is not known, in a column, a folder's name or a pattern's group."""

SEARCHED = 200_000
"""Files among which a missing one is looked for."""


class Row(NamedTuple):
    """One image; identity, camera and time None where unknown."""

    file: Path
    identity: str | None
    camera: str | None
    split: str
    modality: int = VISIBLE
    time: str | None = None


def known(name: str | None) -> str | None:
    """Return a name of an identity or a camera, None where it stands for an unknown one.

    >>> known("0042"), known("-1"), known("Unknown")
    ('0042', None, None)
    """
    return None if name is None or name.strip().lower() in NOBODY else name.strip()


def csv_rows(index: Path, problems: list[Problem], naming: Naming | None = None) -> Iterator[Row]:
    """Yield the rows of a CSV file whose images exist; the others go to `problems`.

    naming: what the names of pictures tell beside the columns, which go before it. Columns of other names are passed
    over with a remark. DatasetError for a file that is no such CSV, a misspelt column, an unknown split or modality,
    and paths that lead out of the CSV's folder.
    """
    root, listing, missing, naming = index.parent, Listing(), [], naming or Naming()
    try:
        with index.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = _columns(index, reader.fieldnames, problems)
            for record in reader:
                row = _row(record, names, root, f"{index.name}, line {reader.line_num},", naming)
                if row.file in listing:
                    yield row
                else:
                    missing.append(row.file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"cannot read {index} as a CSV file in UTF-8: {error}. Expected a header {HEADER}."
        ) from error
    if missing:
        text = f"{len(missing)} images that {index.name} lists are missing{_guess(missing[0], root)}:"
        problems.append(Problem("missing", text, tuple(map(str, missing))))


def _guess(file: Path, root: Path) -> str:
    """Return why a listed image may be missing, by what lies there instead: " (...)", or "" without an idea."""
    here = _names(file.parent)
    plain = {unicodedata.normalize("NFC", name): name for name in here}
    if unicodedata.normalize("NFC", file.name) in plain:
        return (
            f" ({plain[unicodedata.normalize('NFC', file.name)]} is there, its letters written in another form of "
            "Unicode, as a Mac writes them: write the list as the files are named)"
        )
    small = {name.casefold(): name for name in here}
    if file.name.casefold() in small:
        return f" ({small[file.name.casefold()]} is there: capital and small letters differ)"
    for count, place in enumerate(root.rglob("*")):
        if place.name == file.name:
            return f" (one of that name lies in {place.parent}: was the folder moved?)"
        if count == SEARCHED:
            break
    if not file.parent.is_dir():
        return f" (there is no folder {file.parent}: do the paths start from the CSV's own folder?)"
    return ""


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def _columns(index: Path, columns: list[str] | None, problems: list[Problem]) -> dict[str, str]:
    """Return what each column of the file holds, by its name there; those without a meaning are left out."""
    if not columns or "path" not in columns:
        fault = f"its first line is {','.join(columns)[:80]!r}" if columns else "it is empty"
        raise DatasetError(
            f"{index} needs a header with at least the column path, expected {HEADER} separated by commas; {fault}."
        )
    if len(set(columns)) != len(columns):
        raise DatasetError(f"{index} has a column twice: {','.join(columns)}. Expected {HEADER}.")
    names = {name: name for name in columns if name in COLUMNS}
    for name in columns:
        meaning = OTHER_NAMES.get(name)
        if meaning and meaning not in columns:
            names[name] = meaning
    others = [name for name in columns if name not in names and name not in ASIDE]
    for name in others:
        if difflib.get_close_matches(name.lower(), [one for one in COLUMNS if one not in columns], 1, 0.8):
            raise unknown(f"column in {index}", name, COLUMNS)
    if others:
        cut = " (the boxes are not cut out: whole pictures are read)" if "bbox" in others else ""
        text = f"columns of {index.name} that mean nothing here are passed over{cut}: {', '.join(others)}"
        problems.append(Problem("columns", text, (), fatal=False))
    return names


def _row(record: dict[str | None, str | None], names: dict[str, str], root: Path, where: str, naming: Naming) -> Row:
    if None in record or None in record.values():
        raise DatasetError(f"{where} has more or fewer fields than the header. Put fields that hold commas in quotes.")
    fields = {meaning: record[name].strip() for name, meaning in names.items()}
    split, modality = fields.get("split") or "train", fields.get("modality") or "visible"
    if split not in SPLITS:
        raise unknown(f"split in {where}", split, SPLITS)
    if modality not in MODALITIES:
        raise unknown(f"modality in {where}", modality, MODALITIES)
    told = naming.told(fields["path"])
    return Row(
        inside(root, fields["path"], where),
        known(fields.get("identity", told.identity)),
        known(fields.get("camera", told.camera)),
        split,
        MODALITIES[modality],
        fields.get("time", told.time) or None,
    )


def csv_file(root: Path) -> Path | None:
    """Return root where it is a file, else the only CSV file in it, else None; DatasetError for several."""
    if root.is_file():
        return root
    files = sorted(file for file in root.glob("*.csv") if file.is_file() and not file.name.startswith("."))
    if len(files) > 1:
        raise DatasetError(f"{root} holds several CSV files; give the one that is meant:{listed(files)}")
    return files[0] if files else None
