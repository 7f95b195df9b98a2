"""The rule that everything leans on: backends -> core <- datasets, and no backend knows of another."""

import ast
import graphlib
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = {"torch", "torchvision", "mindspore"}
THIRD_PARTY = {"numpy", "scipy", "faiss", "PIL", "tqdm", "safetensors", "threadpoolctl", "filelock", "yaml", "tomli"}
THIRD_PARTY |= {"jinja2", "umap"}  # pages and maps: imported where they are used
THIRD_PARTY |= {"onnxruntime", "onnx"}  # exported networks, without any framework: imported where they are used
THIRD_PARTY |= {"tensorboardX", "wandb", "mlflow"}  # loggers that a run may ask for
THIRD_PARTY |= {"waitress"}  # the page of `duoreid serve`
THIRD_PARTY |= {"matplotlib"}  # the plot of `duoreid compare`
BACKENDS = ("torch", "mindspore")
ENTRY_POINTS = {"entry.py"}
ONE_SIDED = {
    # onednn: torch's own threads are told by torch.set_num_threads
    "mindspore": {"onednn.py"},
    # inputs: what its losses are functions of, where MindSpore's are cells; graph: MindSpore compiles its steps anyway;
    # kernels: Triton's run on CUDA alone
    "torch": {"inputs.py", "graph.py"}
    | {f"kernels/{name}.py" for name in ("__init__", "batch_norm", "choice", "plans", "programs")},
}
OPTIONAL = {"duoreid.backends.torch.kernels.programs": "triton"}
"""Modules that are imported where a library is there, and the library."""


def imports(source: str, package: str) -> set[str]:
    """Return every module that a source imports, dotted: at its top, in functions, for type checkers, by importlib.

    A name that is put together, f"duoreid.backends.{name}.entry", comes with a star for what is filled in.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            names.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            parts = node.args[0].values if isinstance(node.args[0], ast.JoinedStr) else [node.args[0]]
            if name in ("import_module", "__import__"):
                names.add("".join(_filled(part, package) for part in parts))
    return {name for name in names if not name.startswith("*")}


def _filled(part: ast.expr, package: str) -> str:
    """Return a part of a module's name: as it stands, the package's for __name__ in an __init__.py, or a star."""
    inner = getattr(part, "value", None)
    if isinstance(inner, str):
        return inner
    return package if getattr(inner, "id", "") == "__name__" else "*"


def imports_of(folder: str) -> dict[Path, set[str]]:
    """Return the imports of every file under a folder of the repository, by path relative to it."""
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files, f"no files under {folder}"
    names = {file: ".".join(("duoreid", *file.relative_to(ROOT).parent.parts)) for file in files}
    return {file.relative_to(ROOT): imports(file.read_text(), package) for file, package in names.items()}


def roots(modules: set[str]) -> set[str]:
    """Return the top-level names that modules belong to; of ours, the room below `duoreid`."""
    return {module.removeprefix("duoreid.").split(".")[0] for module in modules}


def under(modules: set[str], prefix: str) -> set[str]:
    return {module for module in modules if module == prefix or module.startswith(f"{prefix}.")}


def test_the_scan_sees_every_form_of_import():
    source = """
import torch.nn as nn
from mindspore import ops
if TYPE_CHECKING:
    import faiss
def lazily():
    from duoreid.backends.torch import losses
    importlib.import_module("duoreid.datasets.market")
    __import__("scipy")
    importlib.import_module(f"duoreid.backends.{name}.entry")
from . import sibling
from ..other import thing
"""
    assert imports(source, "core.methods") == {
        "torch.nn",
        "mindspore.ops",
        "faiss",
        "duoreid.backends.torch.losses",
        "duoreid.datasets.market",
        "scipy",
        "duoreid.backends.*.entry",
        "core.methods.sibling",
        "core.other.thing",
    }


def imported(sources: dict[str, str]) -> dict[str, set[str]]:
    """Return the files of ours that each file imports, in whatever form. sources: by dotted name, without `duoreid`.

    An import of a package's name counts as one of its __init__.py. A file that imports itself, as those do that are run
    by `python -m` (their classes are then those that everybody has), is none that another must be read for.
    """
    files = {}
    for file, source in sources.items():
        names = {name.removeprefix("duoreid.") for name in imports(source, f"duoreid.{file.rpartition('.')[0]}")}
        names |= {name.rpartition(".")[0] for name in names if name not in sources}  # of functions and classes
        names |= {f"{name}.__init__" for name in names if name not in sources}
        stars = {other for name in names if "*" in name for other in sources if fnmatchcase(other, name)}
        files[file] = (names & sources.keys() | stars) - {file}
    return files


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return files of which each imports the next, from one back to itself; none: []."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


ROOMS = ("duoreid", "core", "backends", "datasets", "benchmarks", "tests")


def test_one_word_that_is_no_name():
    """`found` says of nothing what it is."""
    named = []
    for file in (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))):
        for node in ast.walk(ast.parse(file.read_text())):
            names = {getattr(node, field, None) for field in ("id", "arg", "attr", "name", "asname")}
            if "found" in names:
                named.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert not named


def sources() -> dict[str, str]:
    """Return the source of every file of the repository by its dotted name."""
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts): file.read_text() for file in files}


def test_no_file_is_imported_by_what_it_imports():
    """In no form: imports in functions and those for type checkers count as others, and there is no exception."""
    graph = imported(sources())
    assert sum(map(len, graph.values())) > 1000, "the scan sees too little"
    assert cycle(graph) == []


@pytest.mark.parametrize(
    "back",
    [
        "from duoreid.core.a import thing",
        "import duoreid.core.a",
        "if TYPE_CHECKING:\n    from duoreid.core.a import Thing",
        "def late():\n    from duoreid.core import a",
        "importlib.import_module(f'duoreid.core.{name}')",
        "from duoreid.core import anything_that_the_package_has",
    ],
)
def test_a_cycle_is_found(back):
    files = {"core.a": "from duoreid.core import b", "core.b": "import duoreid.core.c", "core.c": back, "core.d": ""}
    files["core.__init__"] = "importlib.import_module(f'{__name__}.{file}')" if "package" in back else ""
    loop = cycle(imported(files))
    assert len(loop) > 2
    assert loop[0] == loop[-1]
    assert "core.c" in loop
    assert cycle(imported(files | {"core.c": "from duoreid.core import d"})) == []


def test_nothing_outside_the_tests_imports_them():
    users = {file for file, source in sources().items() if under(imports(source, file), "tests")}
    assert {file.split(".")[0] for file in users} == {"tests"}


@pytest.mark.parametrize(("folder", "ours"), [("core", {"core"}), ("datasets", {"core", "datasets"})])
def test_core_and_datasets_import_nothing_above_them(folder, ours):
    allowed = ours | THIRD_PARTY | set(sys.stdlib_module_names)
    foreign = {str(file): roots(modules) - allowed for file, modules in imports_of(folder).items()}
    assert not {file: names for file, names in foreign.items() if names}


@pytest.mark.parametrize(("backend", "other"), [BACKENDS, BACKENDS[::-1]])
def test_backends_know_nothing_of_each_other(backend, other):
    framework = FRAMEWORKS - {backend} - ({"torchvision"} if backend == "torch" else set())
    for file, modules in imports_of(f"backends/{backend}").items():
        assert not under(modules, f"duoreid.backends.{other}"), file
        assert not roots(modules) & framework, file
        assert not roots(modules) & {"benchmarks", "tests"}, file


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_entry_points_of_a_backend_open_datasets(backend):
    users = {
        file.name for file, modules in imports_of(f"backends/{backend}").items() if under(modules, "duoreid.datasets")
    }
    assert users <= ENTRY_POINTS
    assert "entry.py" in users, "training opens its data somewhere else: the rule looks at the wrong files"


def test_backends_have_the_same_files():
    folders = {backend: ROOT / "backends" / backend for backend in BACKENDS}
    names = {
        backend: {str(file.relative_to(folder)) for file in folder.rglob("*.py")} for backend, folder in folders.items()
    }
    assert {
        "backbones/resnet.py",
        "learner.py",
        "losses.py",
        "methods.py",
        "networks.py",
        "optimiser.py",
        "probe.py",
    } <= names["torch"]
    assert names["mindspore"] - names["torch"] == ONE_SIDED["mindspore"]
    assert names["torch"] - names["mindspore"] == ONE_SIDED["torch"]


BLOCKED = """
import importlib.util, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.removeprefix("duoreid.").split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocker())
names = []
for top in {packages!r}:
    package = importlib.import_module(top)
    modules = [m.name for m in pkgutil.walk_packages(package.__path__, f"{{top}}.") if not m.name.endswith("__main__")]
    modules = [name for name in modules if importlib.util.find_spec({optional!r}.get(name, "sys")) is not None]
    names += [top, *modules]
for name in names + {extra!r}:
    importlib.import_module(name)
assert not {{name.removeprefix("duoreid.").split(".")[0] for name in sys.modules}} & {blocked!r}
print(len(names))
"""


def run_blocked(blocked: set[str], packages: list[str], extra: list[str]) -> subprocess.CompletedProcess:
    """Import all modules of packages, and some more, in a process in which some top-level names cannot be imported."""
    script = BLOCKED.format(blocked=blocked, packages=packages, extra=extra, optional=OPTIONAL)
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)


def test_core_and_datasets_import_without_any_framework():
    extra = [f"duoreid.backends.{backend}.{name}" for backend in BACKENDS for name in ("runtime", "entry")]
    done = run_blocked(FRAMEWORKS, ["duoreid.core", "duoreid.datasets"], extra)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


def test_core_imports_without_the_packages_above_it():
    done = run_blocked(FRAMEWORKS | {"backends", "datasets", "benchmarks", "tests"}, ["duoreid.core"], [])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_block_holds(backend):
    done = run_blocked(FRAMEWORKS, [], [f"duoreid.backends.{backend}.learner"])
    assert done.returncode != 0
    assert f"{backend} is blocked" in done.stderr


@pytest.mark.parametrize(("backend", "other"), [BACKENDS, BACKENDS[::-1]])
def test_a_backend_needs_its_own_framework_only(backend, other):
    done = run_blocked({other}, [f"duoreid.backends.{backend}"], [])
    assert done.returncode == 0, done.stderr
