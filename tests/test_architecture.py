"""The rule that everything leans on: backends -> core <- datasets, and no backend knows of another."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = {"torch", "torchvision", "mindspore"}
THIRD_PARTY = {"numpy", "scipy", "faiss", "PIL", "tqdm", "safetensors", "threadpoolctl", "filelock"}
BACKENDS = ("torch", "mindspore")
ENTRY_POINTS = {"entry.py"}
ONE_SIDED = {
    "mindspore": set(),
    # inputs: what its losses are functions of, where MindSpore's are cells; graph: MindSpore compiles its steps anyway
    "torch": {"inputs.py", "graph.py"},
}


def imports(source: str, package: str) -> set[str]:
    """Return every module that a source imports, dotted; lazy imports and importlib with a plain name included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            found.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                found.add(node.args[0].value)
    return found


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
        "core.methods.sibling",
        "core.other.thing",
    }


@pytest.mark.parametrize(("folder", "ours"), [("core", {"core"}), ("datasets", {"core", "datasets"})])
def test_core_and_datasets_import_nothing_above_them(folder, ours):
    allowed = ours | THIRD_PARTY | set(sys.stdlib_module_names)
    found = {str(file): roots(modules) - allowed for file, modules in imports_of(folder).items()}
    assert not {file: names for file, names in found.items() if names}


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
import importlib, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.removeprefix("duoreid.").split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocker())
names = []
for top in {packages!r}:
    package = importlib.import_module(top)
    found = [m.name for m in pkgutil.walk_packages(package.__path__, f"{{top}}.") if not m.name.endswith("__main__")]
    names += [top, *found]
for name in names + {extra!r}:
    importlib.import_module(name)
assert not {{name.removeprefix("duoreid.").split(".")[0] for name in sys.modules}} & {blocked!r}
print(len(names))
"""


def run_blocked(blocked: set[str], packages: list[str], extra: list[str]) -> subprocess.CompletedProcess:
    """Import all modules of packages, and some more, in a process in which some top-level names cannot be imported."""
    script = BLOCKED.format(blocked=blocked, packages=packages, extra=extra)
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
