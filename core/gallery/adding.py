"""Adding images to a gallery: only what is new, or has changed, is read and embedded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from duoreid.core.errors import UserError
from duoreid.core.gallery.layout import content_of
from duoreid.core.gallery.store import Entry, Writer
from duoreid.core.gallery.view import View
from duoreid.core.serving.model import Model
from duoreid.core.serving.pictures import Listing, Picture, known

SHOWN = 3


@dataclass(frozen=True)
class Added:
    """What `Gallery.add` did. added: images that are new. changed: that were there with other bytes. unchanged: that
    were there. decoded: images that were read and embedded. broken: (file, why) of those left out. vanished: files of
    the gallery below the folder that was added, which are no longer on the disk; `Gallery.remove` takes them out.
    ignored: files that are not used. told: why, and other remarks on what was listed.
    """

    added: int
    changed: int
    unchanged: int
    decoded: int
    broken: tuple[tuple[str, str], ...] = ()
    vanished: tuple[str, ...] = ()
    ignored: int = 0
    told: str = ""

    def __str__(self) -> str:
        counts = [f"{self.added} images added", f"{self.unchanged} were there"]
        counts += [f"{self.changed} changed and embedded again"] if self.changed else []
        lines = [", ".join(counts), *([self.told] if self.told else [])]
        for what, files in (
            ("cannot be decoded and are left out", [f"{file}: {why}" for file, why in self.broken]),
            ("have vanished from the disk and are still in the gallery", self.vanished),
        ):
            if files:
                shown = "".join(f"\n    {file}" for file in files[:SHOWN])
                lines.append(f"{len(files)} {what}:{shown}" + ("\n    ..." if len(files) > SHOWN else ""))
        return "\n".join(lines)


@dataclass
class _Work:
    """What there is to do. new: (picture, row that it takes the place of). same: rows whose file only looks changed."""

    new: list[tuple[Picture, int | None]]
    unchanged: int
    broken: list[tuple[str, str]]


def add(
    writer: Writer,
    model: Model,
    listing: Listing,
    labels: Mapping[str, Sequence[Any] | None],
    *,
    batch_size: int,
    progress: bool | None,
) -> Added:
    """Embed what is missing, a batch at a time, each of which is whole on the disk before the next one begins."""
    pictures = _labelled(listing, labels)
    vanished = _vanished(writer.view, listing)
    work = _work(writer, pictures)
    added = changed = decoded = 0
    files = [picture.file for picture, _ in work.new]
    for batch in model.stream(files, batch_size=batch_size, progress=progress):
        work.broken += [(files[place], _why(files[place], why)) for place, why in batch.broken]
        decoded += len(batch.places)
        entries, features = [], []
        for place, feature in zip(batch.places, batch.features, strict=True):
            picture, instead = work.new[place]
            try:
                entries.append(Entry(picture, *content_of(picture.file), instead))
            except OSError as error:  # it was there a moment ago
                work.broken.append((picture.file, error.strerror or str(error)))
                continue
            features.append(feature)
            added, changed = added + (instead is None), changed + (instead is not None)
        if entries:
            writer.append(entries, np.stack(features))
    return Added(added, changed, work.unchanged, decoded, tuple(work.broken), vanished, listing.ignored, listing.told)


def _labelled(listing: Listing, labels: Mapping[str, Sequence[Any] | None]) -> list[Picture]:
    """Return the pictures with the labels that were given beside them; each file once."""
    count = len(listing.pictures)
    pictures = list(listing.pictures)
    for name in ("identity", "camera"):
        if labels[name] is not None:
            named = known(labels[name], count, "identities" if name == "identity" else "cameras")
            pictures = [one._replace(**{name: value}) for one, value in zip(pictures, named, strict=True)]
    times = labels["time"]
    if times is not None:
        if len(times) != count:
            raise UserError(f"times must name one for each of the {count} images, but {len(times)} came.")
        pictures = [one._replace(time=float(value)) for one, value in zip(pictures, times, strict=True)]
    return list({picture.file: picture for picture in pictures}.values())


def _work(writer: Writer, pictures: Sequence[Picture]) -> _Work:
    """Compare pictures with what is there: by size and time of change, and by their bytes where these differ."""
    work, view = _Work([], 0, []), writer.view
    for picture in pictures:
        try:
            status = os.stat(picture.file)
        except OSError as error:
            work.broken.append((picture.file, error.strerror or str(error)))
            continue
        row = view.find(picture.file)
        if row is None:
            work.new.append((picture, None))
            continue
        record = view.records[row]
        if (status.st_size, status.st_mtime_ns) == (record["size"], record["changed"]):
            work.unchanged += 1
            continue
        content, size, changed = content_of(picture.file)
        if content == tuple(map(int, record["content"])):  # touched, or copied back
            writer.mark([row], size=size, changed=changed)
            work.unchanged += 1
        else:
            work.new.append((picture, row))
    return work


def _vanished(view: View, listing: Listing) -> tuple[str, ...]:
    """Return the gallery's files below the folders that were listed and are not on the disk."""
    if not listing.folders:
        return ()
    folders = tuple(os.path.join(folder, "") for folder in listing.folders)
    there = {picture.file for picture in listing.pictures}
    files = (view.file(int(row)) for row in view.rows)
    return tuple(file for file in files if file.startswith(folders) and file not in there and not os.path.exists(file))


def _why(file: str, text: str) -> str:
    return text.removeprefix(f"{file}: ")
