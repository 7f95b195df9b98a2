"""What docs and comments name exists, and the tables of docs/methods.md show the recipes as they are."""

import re
from dataclasses import fields
from itertools import chain

import pytest

from duoreid import completion
from duoreid.core.commands.options import flag as option
from duoreid.core.methods.registry import spec_of
from duoreid.core.settings.presets import presets
from tests.docs import commands
from tests.docs.blocks import PAGES, ROOT, inline, read
from tests.docs.names import comments, ours, paths, there

METHODS = ROOT / "docs" / "methods.md"

MODULES = {
    "duoreid": [
        ["train", "mmt"],
        ["train", "mvd"],
        ["evaluate", "a"],
        ["doctor", "a", "b"],
        ["score", "a"],
        ["machine"],
        ["runs"],
        ["compare", "a", "b"],
        ["completion", "bash"],
    ],
    "backends.mindspore.train": [[], ["mvd"]],
    "backends.torch.train": [["source"], ["baseline"], [], ["mvd"]],
    "backends.torch.evaluate": [["a"]],
    "backends.torch.export": [["a", "--format", "npz", "--output", "b"]],
    "benchmarks.ablation": [["mmt"]],
    "benchmarks.busy": [[]],
    "benchmarks.endurance": [[]],
    "benchmarks.first_minute": [[]],
    "benchmarks.golden": [[]],
    "benchmarks.growth": [[]],
    "benchmarks.kernels": [["--switches"]],
    "benchmarks.parity": [[]],
    "benchmarks.recipe": [[]],
    "benchmarks.soak": [[]],
    "benchmarks.soak_commands": [[]],
    "benchmarks.step": [["mmt"]],
    "core.evaluate": [["a"]],
    "datasets.doctor": [["a", "b"]],
    "datasets.pictures": [["a", "--dataset", "b"]],
    "datasets.synthetic": [["--preview"]],
}
"""Commands whose options the docs may name, with words that their parsers accept."""

pages = pytest.mark.parametrize("page", [read(path) for path in PAGES], ids=lambda page: page.name)


def decisions():
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
    sections = {match[1] for line in read(METHODS).headings() if (match := re.match(r"(\d+(?:\.\d+)?)\b", line))}
    named = [
        (name, section)
        for name, _, text in comments()
        for section in re.findall(r"METHODS(?:\.md)?,? (?:section )?(\d+(?:\.\d+)?)", text)
    ]
    assert not [place for place in named if place[1] not in sections]


@pages
def test_files_that_a_page_names_are_there(page):
    named = [(number, path) for number, line in ours(page).items() for path in paths(line)]
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


def flags():
    """Return every option of every command that the docs speak of."""
    options = {"--torch-device", "--mindspore-device", "--backend", "--version"}
    for module, calls in MODULES.items():
        for words in calls:
            parser = commands.parser_of(module, words, ROOT)
            options |= {flag for action in parser._actions for flag in action.option_strings}
    (listed,) = (action.choices for action in completion.tree()._actions if isinstance(action.choices, dict))
    for parser in listed.values():
        options |= {flag for action in parser._actions for flag in action.option_strings}
    return options


def test_options_that_the_docs_name_exist():
    known, wrong = flags(), []
    for page in map(read, PAGES):
        for number, line in ours(page).items():
            for word in chain.from_iterable(map(str.split, inline(line))):
                if word.startswith("--") and word.split("=")[0] not in known:
                    wrong.append(f"{page.name}:{number} {word}")
    assert not wrong


def setting(config, flag):
    """Return the value that a recipe has for an option of its method."""
    spec = spec_of(config.method)
    for section in spec.sections:
        for item in fields(getattr(config, section)):
            if flag == option(spec.prefix(section) + item.name):
                return getattr(getattr(config, section), item.name)
    raise KeyError(f"{flag} is no option of {config.preset}")


def says(cell, value):
    """Whether a cell shows a value."""
    if isinstance(value, bool):
        return cell == ("on" if value else "off")
    if isinstance(value, tuple):
        return cell.split() == [str(one) for one in value]
    if isinstance(value, str):
        return cell == (value or "none")
    return float(cell) == pytest.approx(value)


def recipe_tables():
    return [table for table in read(METHODS).tables if "option" in table.header and len(table.rows) > 10]


@pytest.mark.parametrize("table", recipe_tables(), ids=lambda table: f"line {table.line}")
def test_tables_of_methods_show_the_recipes_as_they_are(table):
    known, wrong, compared = presets(), [], 0
    columns = {names[0]: place for place, head in enumerate(table.header) for names in [inline(head)] if names}
    assert set(columns) <= set(known)
    for number, row in enumerate(table.rows, table.line + 2):
        flag = (inline(row[table.header.index("option")]) or [""])[0]
        for name, place in columns.items() if flag else ():
            value, compared = setting(known[name], flag), compared + 1
            if not says(row[place], value):
                wrong.append(f"line {number}: {flag} of {name} is {value!r}, shown as {row[place]!r}")
    assert compared > 40
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("method", ["mmt", "mvd"])
def test_every_setting_of_a_stage_stands_in_the_tables_of_its_method(method):
    spec = spec_of(method)
    shown = {
        flag
        for table in recipe_tables()
        if any(presets()[name].method == method for head in table.header for name in inline(head))
        for cell in table.column("option")
        for flag in inline(cell)
    }
    stages = {stage: fields(getattr(spec.recipe(), stage)) for stage in spec.stages}
    assert not {option(spec.prefix(stage) + item.name) for stage, items in stages.items() for item in items} - shown


def test_the_table_of_presets_shows_them_as_they_are():
    (table,) = [table for table in read(METHODS).tables if table.header[0] == "preset"]
    for row in table.rows:
        config = presets()[inline(row[0])[0]]
        for head, cell in zip(table.header[1:], row[1:], strict=True):
            for flag, shown in zip(inline(head), cell.split(", "), strict=True):
                assert says(shown, setting(config, flag)), (row[0], flag)
    assert {inline(row[0])[0] for row in table.rows} == {name for name in presets() if name.startswith("mmt-")}
