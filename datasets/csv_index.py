"""The CSV form of a user's own dataset."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from duoreid.core.data import INFRARED, VISIBLE
from duoreid.core.errors import unknown
from duoreid.datasets.errors import DatasetError, Problem
from duoreid.datasets.files import Listing, inside

COLUMNS = ("path", "identity", "camera", "split", "modality")
ASIDE = ("time", "certainty")
"""Columns that may stand beside them: a gallery reads `time`, `group` writes `certainty`, a dataset needs neither."""
SPLITS = ("train", "query", "gallery")
MODALITIES = {"visible": VISIBLE, "infrared": INFRARED}
HEADER = ",".join(COLUMNS)


class Row(NamedTuple):
    """One image; identity and camera None where unknown."""

    file: Path
    identity: str | None
    camera: str | None
    split: str
    modality: int
    time: str = ""


def csv_rows(index: Path, problems: list[Problem]) -> Iterator[Row]:
    """Yield the rows of a CSV file whose images exist; the others go to `problems`.

    DatasetError for a file that is no such CSV, an unknown column, split or modality, and paths that lead out of
    the CSV's folder.
    """
    root, listing, missing = index.parent, Listing(), []
    try:
        with index.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(index, reader.fieldnames)
            for record in reader:
                row = _row(record, root, f"{index.name}, line {reader.line_num},")
                if row.file in listing:
                    yield row
                else:
                    missing.append(str(row.file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"cannot read {index} as a CSV file in UTF-8: {error}. Expected a header {HEADER}."
        ) from error
    if missing:
        problems.append(
            Problem("missing", f"{len(missing)} images that {index.name} lists are missing:", tuple(missing))
        )


def _check_header(index: Path, columns: list[str] | None) -> None:
    if not columns or "path" not in columns:
        found = f"its first line is {','.join(columns)[:80]!r}" if columns else "it is empty"
        raise DatasetError(
            f"{index} needs a header with at least the column path, expected {HEADER} separated by commas; {found}."
        )
    for column in columns:
        if column not in (*COLUMNS, *ASIDE):
            raise unknown(f"column in {index}", column, (*COLUMNS, *ASIDE))
    if len(set(columns)) != len(columns):
        raise DatasetError(f"{index} has a column twice: {','.join(columns)}. Expected {HEADER}.")


def _row(record: dict[str | None, str | None], root: Path, where: str) -> Row:
    if None in record or None in record.values():
        raise DatasetError(f"{where} has more or fewer fields than the header. Put fields that hold commas in quotes.")
    fields = {name: value.strip() for name, value in record.items()}
    split, modality = fields.get("split") or "train", fields.get("modality") or "visible"
    if split not in SPLITS:
        raise unknown(f"split in {where}", split, SPLITS)
    if modality not in MODALITIES:
        raise unknown(f"modality in {where}", modality, MODALITIES)
    identity = fields.get("identity") or None
    return Row(
        inside(root, fields["path"], where),
        None if identity == "-1" else identity,
        fields.get("camera") or None,
        split,
        MODALITIES[modality],
        fields.get("time", ""),
    )
