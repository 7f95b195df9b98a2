"""README and docs as a test reads them: code blocks with their marks, tables, links and headings.

A block is run, in the order of its page, in a folder of the page's own, and what it prints is compared with the block
of `text` that directly follows it (`...` there stands for anything). Only a mark, an HTML comment on the line above a
block, changes that:

    <!-- run as: tiny -->        `sh`: run with the words that SETTINGS has under this name behind each command
    <!-- parsed: REASON -->      `sh`: not run; each command's own parser must accept it
    <!-- refused -->             `sh`: run, and must end with status 2; the block of `text` behind it is the message
    <!-- file: NAME -->          any language: written to a file in the page's folder, for the commands that follow
    <!-- recorded -->            `text`: was printed elsewhere, as a footnote says; not compared
    <!-- drawing -->             `text`: printed by nothing
    <!-- printed by: COMMAND --> above a table: it equals what the command prints

`make` is never run: its dry run must know the target, and the commands that it would start are parsed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tests.runs import SMALL

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

SETTINGS = {
    "tiny": SMALL,
    "tiny mvd": [
        "--size", "tiny", "--height", "32", "--width", "16", "--trials", "1", "--epochs", "1", "--iterations", "2",
        "--identities", "4", "--images", "2", "--evaluate-batch", "32",
    ],
    "tiny data": ["--size", "tiny"],
}  # fmt: skip
"""Words that a block's mark puts behind its commands. A command with --resume keeps the run's own settings: there the
number behind --epochs becomes EXTENDED."""

EXTENDED = str(int(SMALL[SMALL.index("--epochs") + 1]) + 1)

FENCE = re.compile(r"^```(\w*)$")
MARK = re.compile(r"^<!-- (.+?) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block. line: of its first fence, from 1; mark: of the comment above; follows: right behind a block."""

    language: str
    lines: tuple[str, ...]
    line: int
    mark: str = ""
    follows: bool = False

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    @property
    def reason(self) -> str:
        """What stands behind the colon of the mark."""
        return self.mark.partition(": ")[2]


@dataclass(frozen=True)
class Table:
    """header and rows: cells without their blanks; mark: of the comment above it."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    line: int
    mark: str = ""

    def column(self, name: str) -> list[str]:
        """Return the cells below a heading."""
        place = self.header.index(name)
        return [row[place] for row in self.rows]


@dataclass
class Page:
    """prose: (number, line) of every line outside blocks."""

    path: Path
    blocks: list[Block] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    prose: list[tuple[int, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    def headings(self) -> list[str]:
        """Return the headings without their marks."""
        return [line.lstrip("#").strip() for _, line in self.prose if re.match(r"#+ ", line)]

    def anchors(self) -> set[str]:
        """Return what links can point to on this page."""
        words = (re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading)).lower() for heading in self.headings())
        return {word.replace(" ", "-") for word in words}


def read(path: Path) -> Page:
    """Read a page."""
    page, lines = Page(path), path.read_text().splitlines()
    number, mark, ended = 0, "", -1
    while number < len(lines):
        line = lines[number]
        fence = FENCE.match(line)
        if fence:
            end = lines.index("```", number + 1)
            blank = all(not between.strip() for between in lines[ended:number]) if ended >= 0 else False
            content = tuple(lines[number + 1 : end])
            page.blocks.append(Block(fence[1], content, number + 1, mark, blank))
            number = ended = end + 1
            mark = ""
            continue
        if line.startswith("|") and re.fullmatch(r"[|\- ]+", lines[number + 1]):
            end = next((i for i in range(number, len(lines)) if not lines[i].startswith("|")), len(lines))
            rows = tuple(cells(row) for row in lines[number + 2 : end])
            page.tables.append(Table(cells(line), rows, number + 1, mark))
            page.prose += [(i + 1, lines[i]) for i in range(number, end)]
            number, mark = end, ""
            continue
        comment = MARK.match(line)
        if not comment:
            page.prose.append((number + 1, line))
        if line.strip():
            mark = comment[1] if comment else ""
        number += 1
    return page


def cells(line: str) -> tuple[str, ...]:
    """Return the cells of a table's line."""
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|"))


def links(page: Page) -> list[tuple[int, str]]:
    """Return (line, target) of every link and picture that points to no other site."""
    targets = [(number, link) for number, line in page.prose for link in re.findall(r"\]\(([^)\s]+)\)", line)]
    return [(number, target) for number, target in targets if not re.match(r"[a-z]+:", target)]


def inline(line: str) -> list[str]:
    """Return what stands between back quotes on a line."""
    return re.findall(r"`([^`]+)`", line)
