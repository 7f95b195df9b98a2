"""README, docs and comments say what is: links lead somewhere, commands are accepted, blocks print what they show."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex

import pytest
from PIL import Image

import duoreid
from duoreid.datasets import open_dataset
from tests.docs import commands
from tests.docs.blocks import PAGES, ROOT, SETTINGS, Block, links, read
from tests.runs import small_data

pages = pytest.mark.parametrize("page", [read(path) for path in PAGES], ids=lambda page: page.name)


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
    there = [match[1] for line in lines if (match := re.match(r"\[\^([\w-]+)\]: ", line))]
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
            printed = go_through(block, tmp_path, namespace, printed)
        except AssertionError as error:
            wrong.append(f"{page.name}:{block.line}: {error}")
    assert not wrong, "\n".join(wrong)


def go_through(block: Block, folder, namespace: dict, printed: str | None) -> str | None:
    """Run, parse or compare one block; return what it printed, None where it was not run."""
    kind, _, name = block.mark.partition(": ")
    if kind == "file":
        (folder / name).write_text(block.text)
        return None
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
    assert kind in ("", "run as", "parsed", "refused"), f"unknown mark {block.mark!r}"
    if kind == "parsed":
        assert block.reason, "a block that is parsed only says why"
        for command in block.lines:
            commands.accept(command, folder)
        return None
    if kind == "run as":
        assert block.reason in SETTINGS, f"unknown settings {block.reason!r}: known are {list(SETTINGS)}"
    more, refused = SETTINGS[block.reason] if kind == "run as" else [], kind == "refused"
    return "".join(commands.run(command, folder, more, refused=refused) for command in block.lines)


def _listed(block: Block, folder) -> None:
    """Read a CSV of images that is shown, with its images made for it."""
    place = folder / "listed"
    place.mkdir()
    for shade, line in enumerate(block.lines[1:]):
        file = place / line.split(",")[0]
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 16), (60 * shade,) * 3).save(file)  # a copy of a query in the gallery is refused
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
