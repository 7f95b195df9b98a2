"""README, docs and comments say what is: links lead somewhere, commands are accepted, blocks print what they show."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import tokenize
from dataclasses import fields
from functools import cache
from itertools import chain

import pytest
from PIL import Image

import duoreid
from duoreid.core.settings.config import Config
from duoreid.core.settings.presets import presets
from duoreid.datasets import open_dataset
from tests.docs import commands
from tests.docs.blocks import PAGES, ROOT, SETTINGS, Block, Page, Table, inline, links, read
from tests.runs import small_data

METHODS = ROOT / "docs" / "methods.md"
CODE = sorted(chain.from_iterable((ROOT / top).rglob("*.py") for top in ("core", "backends", "datasets", "duoreid")))
CODE += sorted(chain.from_iterable((ROOT / top).rglob("*.py") for top in ("benchmarks", "tests")))
THEIRS = ("their name",)
"""Headings of columns that speak of other people's programs."""

MODULES = {
    "duoreid": [["train", "mmt"], ["train", "mvd"], ["evaluate", "a"], ["doctor", "a", "b"]],
    "backends.mindspore.train": [[], ["mvd"]],
    "backends.torch.train": [["source"], ["baseline"], [], ["mvd"]],
    "backends.torch.evaluate": [["a"]],
    "backends.torch.export": [["a", "--format", "npz", "--output", "b"]],
    "benchmarks.ablation": [["mmt"]],
    "benchmarks.growth": [[]],
    "benchmarks.parity": [[]],
    "benchmarks.parity.switches": [[]],
    "benchmarks.soak": [[]],
    "benchmarks.step": [["mmt"]],
    "core.evaluate": [["a"]],
    "datasets.doctor": [["a", "b"]],
    "datasets.pictures": [["a", "--dataset", "b"]],
    "datasets.synthetic": [["--preview"]],
}
"""Commands whose options the docs may name, with words that their parsers accept."""

pages = pytest.mark.parametrize("page", [read(path) for path in PAGES], ids=lambda page: page.name)


@cache
def comments() -> list[tuple[str, int, str]]:
    """Return (file, line, text) of every comment and docstring of the code."""
    found = []
    for path in CODE:
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                docstring = token.type == tokenize.STRING and token.string.startswith('"""')
                if token.type == tokenize.COMMENT or docstring:
                    found.append((str(path.relative_to(ROOT)), token.start[0], token.string))
    return found


@pages
def test_links_lead_somewhere(page):
    wrong = []
    for number, link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        if not target.exists() or (anchor and anchor not in read(target).anchors()):
            wrong.append(f"{page.name}:{number} {link}")
    assert not wrong


@pages
def test_footnotes_are_used_and_there(page):
    lines = [line for _, line in page.prose]
    there = [found[1] for line in lines if (found := re.match(r"\[\^([\w-]+)\]: ", line))]
    used = [name for line in lines for name in re.findall(r"\[\^([\w-]+)\](?!: )", line)]
    assert len(there) == len(set(there))
    assert set(used) == set(there)


@pages
def test_blocks_run_or_are_accepted(page, tmp_path):
    """In one folder, in order; the synthetic datasets of the tests lie ready in its `data`."""
    (tmp_path / "data").symlink_to(small_data(), target_is_directory=True)
    namespace, printed, wrong = {}, None, []
    for block in page.blocks:
        try:
            printed = _go_through(block, tmp_path, namespace, printed)
        except AssertionError as error:
            wrong.append(f"{page.name}:{block.line}: {error}")
    assert not wrong, "\n".join(wrong)


def _go_through(block: Block, folder, namespace: dict, printed: str | None) -> str | None:
    """Run, parse or compare one block; return what it printed, None where it was not run."""
    if block.language == "python":
        assert not block.mark, f"a block of Python has no mark, got {block.mark!r}"
        return _executed(block, folder, namespace)
    if block.language == "sh":
        return _commanded(block, folder)
    if block.language == "csv":
        return _listed(block, folder)
    assert block.language == "text", f"unknown language {block.language!r}"
    if block.mark not in ("recorded", "drawing"):
        assert not block.mark, f"unknown mark {block.mark!r}"
        assert block.follows, "a block of text without a mark stands directly behind the block that prints it"
        assert printed is not None, "the block in front of this one was not run, so nothing can be compared"
        same = doctest.OutputChecker().check_output(block.text, printed, doctest.ELLIPSIS)
        assert same, f"shown:\n{block.text}printed:\n{printed}"
    return None


def _executed(block: Block, folder, namespace: dict) -> str:
    printed, before = io.StringIO(), os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(block.text, f"line {block.line}", "exec"), namespace)
    finally:
        os.chdir(before)
    return printed.getvalue()


def _commanded(block: Block, folder) -> str | None:
    kind = block.mark.partition(":")[0]
    assert kind in ("", "run as", "parsed"), f"unknown mark {block.mark!r}"
    if kind == "parsed":
        assert block.reason, "a block that is parsed only says why"
        for command in block.lines:
            commands.accept(command, folder)
        return None
    if kind == "run as":
        assert block.reason in SETTINGS, f"unknown settings {block.reason!r}: known are {list(SETTINGS)}"
    more = SETTINGS[block.reason] if kind else []
    return "".join(commands.run(command, folder, more) for command in block.lines)


def _listed(block: Block, folder) -> None:
    """Read a CSV of images that is shown, with its images made for it."""
    place = folder / "listed"
    place.mkdir()
    for line in block.lines[1:]:
        file = place / line.split(",")[0]
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 16)).save(file)
    (place / "images.csv").write_text(block.text)
    dataset = open_dataset("folder", place)
    assert len(dataset.train) + len(dataset.test) == len(block.lines) - 1


@pages
def test_tables_equal_what_their_command_prints(page, tmp_path):
    for table in page.tables:
        if not table.mark:
            continue
        assert table.mark.startswith("printed by: "), f"{page.name}:{table.line}: unknown mark {table.mark!r}"
        module, words = commands.program(shlex.split(table.mark.removeprefix("printed by: ")))
        status, printed, errors = commands.call(module, words, ROOT)
        assert status == 0, errors
        shown = page.path.read_text().splitlines()[table.line - 1 : table.line + 1 + len(table.rows)]
        assert shown == printed.splitlines()


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 900


def test_every_page_is_in_the_index():
    index = {link for _, link in links(read(ROOT / "docs" / "README.md"))}
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} <= index


def decisions() -> list[str]:
    """Return the D-numbers that docs/methods.md explains."""
    return [
        number for table in read(METHODS).tables if table.header[0] == "number" for number in table.column("number")
    ]


def test_d_numbers_of_docs_and_comments_are_explained():
    known = decisions()
    assert len(known) == len(set(known)) > 40
    texts = [(page.name, number, line) for page in map(read, PAGES) for number, line in page.prose]
    used = [(name, number, word) for name, number, text in texts + comments() for word in re.findall(r"\bD\d+\b", text)]
    assert {word for _, _, word in used} >= {"D2", "D6", "D12"}
    assert not [place for place in used if place[2] not in known]


def test_sections_of_methods_that_comments_name_are_there():
    sections = {found[1] for line in read(METHODS).headings() if (found := re.match(r"(\d+(?:\.\d+)?)\b", line))}
    named = [
        (name, section)
        for name, _, text in comments()
        for section in re.findall(r"METHODS(?:\.md)?,? (?:section )?(\d+(?:\.\d+)?)", text)
    ]
    assert not [place for place in named if place[1] not in sections]


def there(path: str, beside) -> bool:
    """Whether a path of a file, with * and {a,b}, is one of the repository's or lies beside the file that names it.

    NAME and FAMILY stand for any name: one such file must be there.
    """
    forms = [re.sub(r"NAME|FAMILY", "*", path)]
    while any("{" in form for form in forms):
        forms = [
            form.replace(found[0], choice, 1)
            for form in forms
            for found in [re.search(r"\{([^{}]*)\}", form)]
            for choice in found[1].split(",")
        ]
    roots = (ROOT, beside)
    return all(any(list(root.glob(form)) for root in roots) for form in forms)


def paths(text: str) -> list[str]:
    """Return what looks like the path of a file of Python."""
    return re.findall(r"(?<![\w/.*{}-])([\w./*{},-]+\.py)\b", text)


@pages
def test_files_that_a_page_names_are_there(page):
    lines = dict(page.prose)
    for table in page.tables:
        for place in [table.header.index(name) for name in THEIRS if name in table.header]:
            for row, cells in enumerate(table.rows, table.line + 2):
                lines[row] = lines[row].replace(cells[place], "", 1)
    named = [(number, path) for number, line in lines.items() for path in paths(line)]
    assert not [place for place in named if not there(place[1], page.path.parent)]


def test_files_that_comments_name_are_there():
    named = [(name, number, path) for name, number, text in comments() for path in paths(text)]
    assert len(named) > 20
    assert not [place for place in named if not there(place[2], (ROOT / place[0]).parent)]


def test_folders_and_files_between_back_quotes_are_there():
    tops = ("core", "backends", "datasets", "benchmarks", "tests", "duoreid", "docs")
    wrong = []
    for page in map(read, PAGES):
        for number, line in page.prose:
            for word in inline(line):
                if re.fullmatch(rf"({'|'.join(tops)})/[\w./*{{}},-]*", word) and not there(word.rstrip("/"), ROOT):
                    wrong.append(f"{page.name}:{number} {word}")
    assert not wrong


def flags() -> set[str]:
    """Return every option of every command that the docs speak of."""
    found = {"--torch-device", "--mindspore-device"}
    for module, calls in MODULES.items():
        for words in calls:
            parser = commands.parser_of(module, words, ROOT)
            found |= {flag for action in parser._actions for flag in action.option_strings}
    return found


def test_options_that_the_docs_name_exist():
    known, wrong = flags(), []
    for page in map(read, PAGES):
        lines = dict(page.prose)
        for table in page.tables:
            for place in [table.header.index(name) for name in THEIRS if name in table.header]:
                for row, cells in enumerate(table.rows, table.line + 2):
                    lines[row] = lines[row].replace(cells[place], "", 1)
        for number, line in lines.items():
            for word in chain.from_iterable(map(str.split, inline(line))):
                if word.startswith("--") and word.split("=")[0] not in known:
                    wrong.append(f"{page.name}:{number} {word}")
    assert not wrong


def setting(config: Config, flag: str) -> object:
    """Return the value that a recipe has for an option of its method."""
    mvd, name = config.method == "mvd", flag.removeprefix("--").replace("-", "_")
    prefixes = {
        "data": "",
        "network": "",
        "run": "",
        **({"mvd": ""} if mvd else {"pretrain": "pretrain_", "adapt": ""}),
    }
    for section, prefix in prefixes.items():
        known = {
            prefix + item.name: getattr(getattr(config, section), item.name)
            for item in fields(getattr(config, section))
        }
        if name in known:
            return known[name]
    raise KeyError(f"{flag} is no option of {config.preset}")


def says(cell: str, value: object) -> bool:
    """Whether a cell shows a value."""
    if isinstance(value, bool):
        return cell == ("on" if value else "off")
    if isinstance(value, tuple):
        return cell.split() == [str(one) for one in value]
    if isinstance(value, str):
        return cell == (value or "none")
    return float(cell) == pytest.approx(value)


def recipe_tables() -> list[Table]:
    return [table for table in read(METHODS).tables if "option" in table.header and len(table.rows) > 10]


@pytest.mark.parametrize("table", recipe_tables(), ids=lambda table: f"line {table.line}")
def test_tables_of_methods_show_the_recipes_as_they_are(table):
    known, wrong, compared = presets(), [], 0
    columns = {found[0]: place for place, head in enumerate(table.header) for found in [inline(head)] if found}
    assert set(columns) <= set(known)
    for number, row in enumerate(table.rows, table.line + 2):
        flag = (inline(row[table.header.index("option")]) or [""])[0]
        for name, place in columns.items() if flag else ():
            value, compared = setting(known[name], flag), compared + 1
            if not says(row[place], value):
                wrong.append(f"line {number}: {flag} of {name} is {value!r}, shown as {row[place]!r}")
    assert compared > 40
    assert not wrong, "\n".join(wrong)


def test_the_table_of_presets_shows_them_as_they_are():
    (table,) = [table for table in read(METHODS).tables if table.header[0] == "preset"]
    for row in table.rows:
        config = presets()[inline(row[0])[0]]
        for head, cell in zip(table.header[1:], row[1:], strict=True):
            for flag, shown in zip(inline(head), cell.split(", "), strict=True):
                assert says(shown, setting(config, flag)), (row[0], flag)
    assert {inline(row[0])[0] for row in table.rows} == {name for name in presets() if name.startswith("mmt-")}


def test_version_and_licence_are_told_once():
    citation, changes = (ROOT / "CITATION.cff").read_text(), (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {duoreid.__version__}\n" in citation
    assert re.search(rf"^## {re.escape(duoreid.__version__)}\b", changes, re.MULTILINE)
    assert "Apache License" in (ROOT / "LICENSE").read_text().splitlines()[1]
    assert "\nlicense: Apache-2.0\n" in citation


def test_pictures_are_small():
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()}
    assert len(sizes) >= 2
    assert max(sizes.values()) < 300_000


# What the tests above are made of must itself notice mistakes.


def page_of(text: str, folder) -> Page:
    path = folder / "page.md"
    path.write_text(text)
    return read(path)


def through(text: str, folder) -> None:
    printed, namespace = None, {}
    for block in page_of(text, folder).blocks:
        printed = _go_through(block, folder, namespace, printed)


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n", r"printed:\n\s*2"),
        ("```python\nprint(2)\n```\nand\n```text\n2\n```\n", "directly behind"),
        ("<!-- parsed: why -->\n```sh\npython -m core.evaluate a.npz --rarank\n```\n", "not accepted"),
        ("<!-- parsed: why -->\n```sh\npython -m nobody.train\n```\n", "no module of this library"),
        ("<!-- parsed: why -->\n```sh\nmake trian\n```\n", "trian"),
        ("<!-- parsed: why -->\n```sh\npip install '.[tensorflow]'\n```\n", "known extras"),
        ("<!-- parsed: why -->\n```sh\npython -m pytest tests/nowhere\n```\n", "no tests/nowhere"),
        ("<!-- parsed:  -->\n```sh\nmake test\n```\n", "says why|unknown mark"),
        ("<!-- skipped -->\n```sh\nmake test\n```\n", "unknown mark"),
        ("<!-- run as: huge -->\n```sh\nmake test\n```\n", "unknown settings"),
        ("```sh\npython -m core.evaluate nowhere.npz\n```\n", "ended with 2"),
        ("```fortran\nEND\n```\n", "unknown language"),
    ],
)
def test_a_mistake_on_a_page_is_noticed(tmp_path, text, needle):
    with pytest.raises(AssertionError, match=needle):
        through(text, tmp_path)


def test_a_wrong_link_path_or_anchor_is_noticed(tmp_path):
    page = page_of("# One, two\n\n[a](page.md#one-two) [b](page.md#three) [c](none.md) see core/none.py\n", tmp_path)
    assert [target for _, target in links(page)] == ["page.md#one-two", "page.md#three", "none.md"]
    assert page.anchors() == {"one-two"}
    assert paths("see core/none.py, backends/*/losses.py and (core/data.py)") == [
        "core/none.py",
        "backends/*/losses.py",
        "core/data.py",
    ]
    assert there("backends/*/losses.py", ROOT)
    assert there("core/{data,errors}.py", ROOT)
    assert not there("core/{data,none}.py", ROOT)


@pytest.mark.parametrize(
    ("cell", "value", "same"),
    [
        ("3.5e-4", 0.00035, True),
        ("3.5e-4", 0.0003, False),
        ("on", True, True),
        ("on", False, False),
        ("40 70", (40, 70), True),
        ("40", (40, 70), False),
        ("none", "", True),
        ("last", "test", False),
    ],
)
def test_a_cell_says_one_value(cell, value, same):
    assert says(cell, value) is same
