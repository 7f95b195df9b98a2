"""What a page is made of: sections of texts, tables, charts and rows of pictures, without a word of HTML.

A block's `kind` names its macro in templates/blocks.html. Whoever builds a page (a report, the sheet of a dataset)
makes blocks; core/report/page.py lays them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple


@dataclass(frozen=True)
class Text:
    """One paragraph."""

    words: str
    kind: ClassVar[str] = "text"


class Cell(NamedTuple):
    """A cell of a table. heat: share from 0 to 1 that tints it, None for no tint. mark: a word for CSS, "worst"."""

    words: str
    heat: float | None = None
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first column is left-aligned, the others right-aligned unless `words` is set.

    rows: of strings or Cells. muted: numbers of rows that stand beside the measured ones (published results).
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    caption: str = ""
    muted: frozenset[int] = frozenset()
    words: bool = False
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Figure:
    """A chart. svg: of core/report/charts.py. legend: (name, number of its colour from 1) of each series."""

    title: str
    svg: str
    caption: str = ""
    legend: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class Figures:
    """Charts beside each other where there is room."""

    figures: Sequence[Figure]
    kind: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Picture:
    """A picture of the page's atlas.

    place: what Atlas.add returned. mark: "query", "same", "other" or "". title: shown on hover, and read aloud.
    apart: a gap stands before it.
    """

    place: int
    caption: str = ""
    mark: str = ""
    title: str = ""
    apart: bool = False


@dataclass(frozen=True)
class Strip:
    """A row of pictures that scrolls sideways where it is too wide. title: what it shows; words: what to see."""

    title: str
    words: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Strips:
    """Rows of pictures under one heading."""

    title: str
    caption: str
    strips: Sequence[Strip]
    kind: ClassVar[str] = "strips"


@dataclass(frozen=True)
class Cloud:
    """A map of points with a picture each on hover. svg: of charts.cloud. ways: (key, words) to colour it by."""

    svg: str
    caption: str
    ways: Sequence[tuple[str, str]]
    legends: Sequence[tuple[str, Sequence[tuple[str, int]]]]
    kind: ClassVar[str] = "cloud"


Block = Text | Table | Figures | Strips | Cloud


@dataclass(frozen=True)
class Section:
    """A part of a page that folds. lead: one sentence that says what to see."""

    key: str
    title: str
    lead: str
    blocks: Sequence[Block]
    unfolded: bool = True


@dataclass(frozen=True)
class Page:
    """A whole page. figures: (number, what it is) of the few results that stand at the top."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    figures: Sequence[tuple[str, str]] = ()
    foot: str = ""
