"""docs/extending.md lists every file of a method, a backbone, a backend and a dataset: the lists are held to the code.

From the code come the files in which the parts of what is there lie, the tables that the exam of a method enters itself
into, and every file that knows a name. From the page come paths, in which NAME and FAMILY stand for any name.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from dataclasses import fields
from fnmatch import fnmatchcase
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from duoreid.core.commands.command import Backend
from duoreid.core.contract.learner import Learner
from duoreid.core.methods.base import Host
from duoreid.core.methods.registry import METHODS
from duoreid.core.methods.spec import MethodSpec
from duoreid.core.networks.backbone import Backbone
from duoreid.core.networks.backbones import BACKBONES
from duoreid.core.training.pipelines import PIPELINES
from duoreid.datasets.opening import NAMES, Reader
from tests.backbones.patches import Patches
from tests.docs.blocks import ROOT, Table, inline, read
from tests.docs.names import TOPS, expanded
from tests.methods import contrast

PAGE = read(ROOT / "docs" / "extending.md")
BACKENDS = {"torch": "torch", "mindspore": "MindSpore"}
"""Name of each backend, and what the page calls it."""
LIBRARY = ("core", "backends", "datasets", "duoreid")


# -- the page -------------------------------------------------------------------------------------------------


def tables(section: str) -> list[Table]:
    """Return the tables of a section of the page, by its heading."""
    starts = {line.removeprefix("## "): number for number, line in PAGE.prose if line.startswith("## ")}
    first = starts[section]
    last = min([number for number in starts.values() if number > first], default=sys.maxsize)
    return [table for table in PAGE.tables if first < table.line < last]


def listed(section: str) -> dict[str, str]:
    """Return the paths of a section's tables of files, with * for any name -> what goes there."""
    rows = [row for table in tables(section) if table.header[0] == "file" for row in table.rows]
    return {form: text for cell, text in rows for path in inline(cell) for form in expanded(path)}


def entered(section: str, name: str) -> set[str]:
    """Return the files of a section in which something is entered into a table of this name."""
    return {form for form, text in listed(section).items() if f"`{name}`" in text}


def table_of(heading: str) -> Table:
    """Return the table with this heading over its first column."""
    (chosen,) = [table for table in PAGE.tables if table.header[0] == heading]
    return chosen


# -- the code -------------------------------------------------------------------------------------------------


def halves(backend: str) -> ModuleType:
    """Return the module of a backend's device halves."""
    return import_module(f"duoreid.backends.{backend}.methods")


def members(protocol: type) -> set[str]:
    """Return the public members of a protocol, or the fields of a class."""
    return {name for name in {*vars(protocol), *protocol.__annotations__} if not name.startswith("_")}


def fields_of_halves() -> set[str]:
    return {name for backend in BACKENDS for name in halves(backend).DeviceHalf._fields}


def file_of(part: object) -> str:
    """Return where a class or a function is defined, from the root of the repository."""
    while isinstance(part, partial):
        part = part.func
    return relative(Path(inspect.getsourcefile(inspect.unwrap(part))).resolve())


def relative(file: Path) -> str:
    return str(file.relative_to(ROOT))


def sources(tops: tuple[str, ...]) -> list[Path]:
    files = [file for top in tops for file in sorted((ROOT / top).rglob("*.py"))]
    assert len(files) > 100
    return files


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def knowing(names: set[str], tops: tuple[str, ...]) -> set[str]:
    """Return the files below some folders that have one of the names as a string."""

    def strings(file: Path) -> set[str]:
        constants = (node.value for node in ast.walk(tree_of(file)) if isinstance(node, ast.Constant))
        return {value for value in constants if isinstance(value, str)}

    return {relative(file) for file in sources(tops) if strings(file) & names}


def defining(name: str, tops: tuple[str, ...] = TOPS) -> set[str]:
    """Return the files that make a global variable of this name."""

    def defined(file: Path) -> set[str]:
        plain = [target for node in tree_of(file).body if isinstance(node, ast.Assign) for target in node.targets]
        typed = [node.target for node in tree_of(file).body if isinstance(node, ast.AnnAssign)]
        return {target.id for target in (*plain, *typed) if isinstance(target, ast.Name)}

    return {relative(file) for file in sources(tops) if name in defined(file)}


def outside(files: set[str], section: str) -> set[str]:
    """Return the files that a section does not list."""
    return {file for file in files if not any(fnmatchcase(file, form) for form in listed(section))}


# -- what the page explains -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("field of `MethodSpec`", lambda: {item.name for item in fields(MethodSpec)}),
        ("member of `Host`", lambda: members(Host)),
        ("field of `DeviceHalf`", fields_of_halves),
        ("member of `Backbone`", lambda: members(Backbone)),
        ("field of `Backend`", lambda: {item.name for item in fields(Backend)}),
        ("verb of `Learner`", lambda: members(Learner)),
        ("field of `Reader`", lambda: {item.name for item in fields(Reader)}),
    ],
)
def test_every_member_is_explained_once(heading, expected):
    explained = [name for row in table_of(heading).rows for name in inline(row[0])]
    assert len(explained) > 3
    assert sorted(explained) == sorted(expected())


def test_fields_of_device_halves_stand_beside_their_backends():
    for cell, backend, _ in table_of("field of `DeviceHalf`").rows:
        (name,) = inline(cell)
        has = [title for backend, title in BACKENDS.items() if name in halves(backend).DeviceHalf._fields]
        assert has == (list(BACKENDS.values()) if backend == "both" else [backend]), name


# -- a method -------------------------------------------------------------------------------------------------


def parts(spec: MethodSpec) -> set[str]:
    """Return the files in which a method's parts lie, in core and in both backends."""
    pieces = [spec.recipe, type(getattr(spec.recipe(), spec.section)), PIPELINES[spec.pipeline]]
    for item in fields(MethodSpec):
        value = getattr(spec, item.name)
        if callable(value) and value is not item.default:
            pieces.append(value)
    for backend in BACKENDS:
        pieces += halves(backend).METHODS[spec.name]
    return {file_of(part) for part in pieces}


def all_parts() -> set[str]:
    return set().union(*map(parts, METHODS.values()))


def test_parts_of_every_method_lie_in_the_listed_files():
    assert len(all_parts()) > 10
    assert not outside(all_parts(), "A method")


def test_each_file_that_a_method_must_have_holds_parts_of_one():
    must = {form for cell, _ in tables("A method")[0].rows for path in inline(cell) for form in expanded(path)}
    holding = all_parts() | {"core/methods/registry.py"}
    assert len(must) == 6
    assert not {form for form in must if not any(fnmatchcase(file, form) for file in holding)}


def dictionaries(key: str) -> dict[int, set[str]]:
    """Return the files of the library's modules that see each dictionary with this key, by the dictionary's id."""
    files: dict[int, set[str]] = {}
    for name, module in [*sys.modules.items()]:
        if name.startswith("duoreid.") and getattr(module, "__file__", None):
            for value in vars(module).values():
                if isinstance(value, dict) and value is not vars(module) and key in value:
                    files.setdefault(id(value), set()).add(relative(Path(module.__file__).resolve()))
    return files


def test_the_exam_enters_itself_where_the_page_asks_for_an_entry():
    name = contrast.SPEC.name
    assert not dictionaries(name)
    with contrast.registered(*BACKENDS):
        seen = dictionaries(name)
    asked = entered("A method", "METHODS")
    assert len(seen) == len(asked) == 3
    assert {file for files in seen.values() for file in files & defining("METHODS", LIBRARY)} == asked


ANOTHER_MEANING = {
    "core/losses/__init__.py",  # names of functions
    "core/methods/source.py",  # also the name of a dataset's field
    "core/settings/reading.py",  # sections that version 0.1 wrote
    "core/serving/model.py",  # where a model came from
}


def test_no_other_file_asks_for_a_method_by_its_name():
    known = knowing(set(METHODS), LIBRARY)
    assert {"core/methods/registry.py", "backends/torch/methods.py"} <= known
    assert outside(known, "A method") <= ANOTHER_MEANING


# -- a backbone -----------------------------------------------------------------------------------------------


def test_files_of_every_backbone_are_the_listed_ones():
    asked = {form for form in listed("A backbone") if form.startswith(("core/networks/", "backends/"))}
    makers = [import_module(f"duoreid.backends.{backend}.backbones").layers_of for backend in BACKENDS]
    files = {file_of(layers_of(arch)) for layers_of in makers for arch in BACKBONES}
    files |= {file_of(type(member)) for member in BACKBONES.values()}
    assert len(files) == len(asked) == 3
    assert not {file for file in files if not any(fnmatchcase(file, form) for form in asked)}
    assert not {form for form in asked if not any(fnmatchcase(file, form) for file in files)}


def test_the_exam_of_a_backbone_has_as_many_halves():
    assert {file.stem for file in (ROOT / "tests" / "backbones").glob("patches*.py")} == {
        "patches",
        *(f"patches_{backend}" for backend in BACKENDS),
    }
    assert all(hasattr(Patches, name) for name in members(Backbone))
    for backend in BACKENDS:
        assert callable(import_module(f"tests.backbones.patches_{backend}").LAYERS.features)


def test_no_other_file_knows_a_backbone():
    """Beside settings, which choose one. `tiny` is also a size of synthetic data."""
    names = {*BACKBONES, *(member.family for member in BACKBONES.values())} - {"tiny"}
    known = {file for file in knowing(names, LIBRARY) if not file.startswith("core/settings/")}
    assert known == {"core/networks/backbones/resnet.py", *entered("A backbone", "LAYOUTS")}


# -- a backend ------------------------------------------------------------------------------------------------


def test_files_of_a_backend_are_those_that_all_have():
    tops = [ROOT / "backends" / backend for backend in BACKENDS]
    all_have = set.intersection(*({str(file.relative_to(top)) for file in top.rglob("*.py")} for top in tops))
    asked = {form.removeprefix("backends/*/") for form in listed("A backend") if form.startswith("backends/")}
    families = {file for file in all_have if fnmatchcase(file, "backbones/[!_]*.py")}
    assert families
    assert {*(all_have - families), "backbones/*.py"} == asked


def test_the_name_of_a_backend_is_entered_where_the_page_says():
    here = relative(Path(__file__))
    assert defining("BACKENDS") - {here} == entered("A backend", "BACKENDS")
    assert defining("FRAMEWORKS") == entered("A backend", "FRAMEWORKS")


def test_no_other_file_knows_a_backend():
    known = knowing({"mindspore"}, ("core", "datasets", "duoreid", "benchmarks"))
    places = {form for form in listed("A backend") if form.startswith(("core/", "duoreid/", "benchmarks/"))}
    assert known == {form for form in places if "*" not in form}


def test_packages_and_extras_are_named_after_the_backends():
    text = (ROOT / "setup.cfg").read_text()
    for backend in BACKENDS:
        assert re.search(rf"^{backend} =\n(?:    #.*\n)*    {backend}\b", text, re.MULTILINE)
        assert f"\n    duoreid.backends.{backend}\n" in text


# -- a dataset ------------------------------------------------------------------------------------------------


def test_no_other_file_knows_a_dataset():
    real = {name for name in NAMES if not name.startswith("synthetic-")} - {"folder"}
    known = knowing(real, LIBRARY)
    assert {"datasets/opening.py", "datasets/counts.py", "datasets/checks.py"} <= known
    assert not outside(known, "A dataset")
    assert defining("READERS", ("core", "datasets")) & known == entered("A dataset", "READERS")
