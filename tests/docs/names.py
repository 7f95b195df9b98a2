"""What README, docs and the code's comments name: files, options, decisions."""

from __future__ import annotations

import re
import tokenize
from functools import cache
from itertools import chain
from pathlib import Path

from tests.docs.blocks import ROOT, Page

TOPS = ("core", "backends", "datasets", "duoreid", "benchmarks", "tests")
THEIRS = ("their name",)
"""Headings of columns that speak of other people's programs."""


@cache
def comments() -> list[tuple[str, int, str]]:
    """Return (file, line, text) of every comment and docstring of the code."""
    entries = []
    for path in sorted(chain.from_iterable((ROOT / top).rglob("*.py") for top in TOPS)):
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                docstring = token.type == tokenize.STRING and token.string.startswith('"""')
                if token.type == tokenize.COMMENT or docstring:
                    entries.append((str(path.relative_to(ROOT)), token.start[0], token.string))
    return entries


def ours(page: Page) -> dict[int, str]:
    """Return the lines of a page by number, without the cells that speak of other people's programs."""
    lines = dict(page.prose)
    for table in page.tables:
        for place in [table.header.index(name) for name in THEIRS if name in table.header]:
            for row, cells in enumerate(table.rows, table.line + 2):
                lines[row] = lines[row].replace(cells[place], "", 1)
    return lines


def there(path: str, beside: Path) -> bool:
    """Whether a path of a file is one of the repository's or lies beside the file that names it; forms: one must be."""
    return all(_matches(form, beside) for form in expanded(path))


def expanded(path: str) -> list[str]:
    """Return the paths that a path with {a,b} stands for, with * for NAME and FAMILY, which stand for any name."""
    forms = [re.sub(r"NAME|FAMILY", "*", path)]
    while any("{" in form for form in forms):
        forms = [
            form.replace(braces[0], choice, 1)
            for form in forms
            for braces in [re.search(r"\{([^{}]*)\}", form)]
            for choice in braces[1].split(",")
        ]
    return forms


def _matches(form: str, beside: Path) -> bool:
    """Whether there is such a file; a name without a folder may lie anywhere in the code."""
    files = [beside.glob(form), ROOT.glob(form)]
    if "/" not in form:
        files += [(ROOT / top).rglob(form) for top in TOPS]
    return any(chain.from_iterable(files))


def paths(text: str) -> list[str]:
    """Return what looks like the path of a file of Python."""
    return re.findall(r"(?<![\w/.*{}-])([\w./*{},-]+\.py)\b", text)
