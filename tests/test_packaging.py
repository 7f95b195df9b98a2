"""What is installed: one package, `duoreid`, that works beside another's `datasets`, from any folder.

Each environment is made by the test and has a pip-installed DuoReID of its own. The packages that it needs come from
the running environment, whose folder of packages a line in a .pth file adds at the END of the path, and only where
DEPENDENCIES is set. pip runs without it. The running environment's own DuoReID stays out of sight: an editable one is
a .pth file, which Python reads in an environment's own folder only; that no other is met is asserted at each import.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from duoreid import __version__
from tests.runs import small_data

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("core", "backends", "datasets", "benchmarks")
SOURCES = ("duoreid", *ROOMS, "setup.cfg", "pyproject.toml", "README.md", "MANIFEST.in", "LICENSE")
DEPENDENCIES = "DUOREID_TEST_DEPENDENCIES"
TINY = [
    "source", "--target", "synthetic-a", "--size", "tiny", "--height", "32", "--width", "16", "--pretrain-epochs", "1",
    "--pretrain-iterations", "1", "--pretrain-identities", "4", "--pretrain-images", "2", "--pretrain-milestones",
    "--evaluate-batch", "64", "--threads", "1",
]  # fmt: skip


def settings() -> configparser.ConfigParser:
    """Return setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def folder_of(package: str) -> Path:
    """Return where a package lies in the checkout."""
    rest = package.split(".")[1:]
    return ROOT.joinpath(*rest) if rest and rest[0] in ROOMS else ROOT.joinpath("duoreid", *rest)


def modules(tops: tuple[Path, ...]) -> list[Path]:
    return [file for top in tops for file in sorted(top.rglob("*.py"))]


def test_the_list_of_packages_is_the_tree():
    options = settings()["options"]
    listed = options["packages"].split()
    assert len(listed) == len(set(listed))
    files = modules(tuple(ROOT / name for name in ("duoreid", *ROOMS)))
    inside = {file.parent for file in files}
    assert {folder_of(package) for package in listed} == inside
    assert all((folder / "__init__.py").is_file() for folder in inside), "a package without __init__.py"
    places = dict(line.split(" = ") for line in options["package_dir"].strip().splitlines())
    assert places == {"duoreid": "duoreid", **{f"duoreid.{room}": room for room in ROOMS}}


def requirements() -> list[Requirement]:
    """Return what DuoReID and its extras ask for under Python 3.11, for which constraints.txt is made."""
    options = settings()
    texts = [options["options"]["install_requires"], *options["options.extras_require"].values()]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    listed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [one for one in listed if one.marker is None or one.marker.evaluate({"python_version": "3.11"})]


def test_every_requirement_is_a_range_with_a_pin_inside():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    for requirement in requirements():
        assert not [part for part in requirement.specifier if part.operator == "=="], requirement
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of what is built, so that building leaves nothing in the real one."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    (copy / "tests").mkdir()
    (copy / "tests" / "test_none.py").touch()
    return copy


def build(form: str, tree: Path, output: Path) -> Path:
    """Build a "wheel", an "sdist" or what an "editable" install takes, from a tree, and return the file."""
    output.mkdir(exist_ok=True)
    code = f"import sys; from setuptools import build_meta; print(build_meta.build_{form}(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, output], cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return output / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory) -> Path:
    """The wheel, as `pip wheel` makes it."""
    output = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    done = subprocess.run([*words, output, checkout], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = output.iterdir()
    return file


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_one_package_and_every_module(wheel):
    names = contents(wheel)
    assert {name.split("/")[0] for name in names} == {"duoreid", f"duoreid-{__version__}.dist-info"}
    files = modules(tuple(ROOT / name for name in ("duoreid", *ROOMS)))
    expected = {
        str(Path("duoreid", *file.relative_to(ROOT).parts)).replace("duoreid/duoreid", "duoreid") for file in files
    }
    assert {name for name in names if name.endswith(".py")} == expected
    assert "duoreid/py.typed" in names


def test_the_sdist_makes_the_same_wheel(checkout, wheel, tmp_path):
    with tarfile.open(build("sdist", checkout, tmp_path / "sdist")) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path, filter="data")
    top = f"duoreid-{__version__}"
    assert {name.split("/")[0] for name in names} == {top}
    assert not [name for name in names if name.startswith(f"{top}/tests/")]
    again = build("wheel", tmp_path / top, tmp_path / "wheel")
    assert contents(again) == contents(wheel)


# -- beside another's `datasets` ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Path:
    """A distribution called `datasets` with a package of that name."""
    files = {
        "datasets/__init__.py": "def load_dataset(name):\n    return f'theirs: {name}'\n",
        "datasets/doctor.py": "print('theirs')\n",
        "datasets-4.0.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: datasets\nVersion: 4.0.0\n",
        "datasets-4.0.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ["datasets-4.0.0.dist-info/RECORD,,"]
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(text.encode())}")
    path = tmp_path_factory.mktemp("theirs") / "datasets-4.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, "datasets-4.0.0.dist-info/RECORD": "\n".join(record)}.items():
            archive.writestr(name, text)
    return path


@pytest.fixture
def data() -> Path:
    """A folder with the synthetic domains at their smallest."""
    return small_data()


class Environment:
    """A fresh virtual environment; see the head of this file."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "venv", with_pip=False, symlinks=os.name != "nt")
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        self.python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.packages = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        line = f"import os, sys; sys.path.extend(filter(None, os.environ.get('{DEPENDENCIES}', '').split(os.pathsep)))"
        (self.packages / "zz-dependencies.pth").write_text(line)

    def run(self, *words: str | Path, dependencies: bool = True, status: int = 0) -> str:
        """Run Python from another folder and return what it printed."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        if dependencies:
            places = [place for place in sys.path if "site-packages" in place or "dist-packages" in place]
            environment[DEPENDENCIES] = os.pathsep.join(places)
        done = subprocess.run(
            [self.python, *words], cwd=self.elsewhere, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def pip(self, *words: str | Path) -> None:
        """Run the running environment's pip on this one, which has none."""
        command = [sys.executable, "-m", "pip", "--python", self.python, "--quiet", "--disable-pip-version-check"]
        environment = {name: value for name, value in os.environ.items() if name != DEPENDENCIES}
        done = subprocess.run([*command, *words], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def install(self, file: Path) -> None:
        self.pip("install", "--no-index", "--no-deps", file)

    def check_ours(self, below: Path | None = None) -> None:
        """Ours can be imported, each module from this environment or from the tree that it was installed from."""
        code = (
            "import duoreid, duoreid.datasets, duoreid.backends.torch.entry, duoreid.core.ranking, sys\n"
            "files = [m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'duoreid']\n"
            "assert len(files) > 20 and 'datasets' not in sys.modules\n"
            "print('\\n'.join(files)); print(duoreid.datasets.open_dataset)"
        )
        *files, function = self.run("-c", code).splitlines()
        assert all(Path(file).is_relative_to(below or self.packages) for file in files)
        assert "function open_dataset" in function

    def check_theirs(self) -> None:
        code = "import datasets; print(datasets.load_dataset('x'), datasets.__file__)"
        words, _, file = self.run("-c", code).strip().rpartition(" ")
        assert words == "theirs: x"
        assert Path(file).is_relative_to(self.packages)

    def absent(self, name: str) -> bool:
        """Whether nothing of this name can be imported, from this environment or another."""
        return f"No module named '{name}'" in self.run(
            "-c", f"try:\n    import {name}\nexcept ModuleNotFoundError as error:\n    print(error)"
        )


def test_beside_theirs_installed_before(wheel, theirs, data, tmp_path):
    here = Environment(tmp_path)
    here.install(theirs)
    assert here.absent("duoreid")
    here.install(wheel)
    here.check_ours()
    here.check_theirs()
    assert "Verdict: fit" in here.run("-m", "duoreid.datasets.doctor", "synthetic-a", data)
    run = here.elsewhere / "run"
    shown = here.run("-m", "duoreid.backends.torch.train", *TINY, "--data", data, "--output", run)
    assert "source only, network 1" in shown
    assert (run / "stage1-1.safetensors").is_file()
    assert "mAP" in here.run("-m", "duoreid.backends.torch.evaluate", run, "--data", data)
    here.pip("uninstall", "--yes", "datasets")
    assert here.absent("datasets")
    here.check_ours()
    assert "Verdict: fit" in here.run("-m", "duoreid.datasets.doctor", "synthetic-a", data)


@pytest.mark.long
def test_beside_theirs_installed_after(wheel, theirs, data, tmp_path):
    here = Environment(tmp_path)
    here.install(wheel)
    here.install(theirs)
    here.check_ours()
    here.check_theirs()
    assert "Verdict: fit" in here.run("-m", "duoreid.datasets.doctor", "synthetic-a", data)
    here.pip("uninstall", "--yes", "duoreid")
    assert here.absent("duoreid")
    here.check_theirs()
    assert sorted(path.name for path in here.packages.iterdir() if "dist-info" not in path.name) == [
        "datasets", "zz-dependencies.pth",
    ]  # fmt: skip


@pytest.mark.long
def test_an_editable_install_beside_theirs(checkout, theirs, tmp_path):
    here = Environment(tmp_path)
    here.install(build("editable", checkout, tmp_path / "editable"))
    here.install(theirs)
    here.check_ours(checkout)
    here.check_theirs()
    assert "usage" in here.run("-m", "duoreid.backends.torch.train", "--help")
    here.pip("uninstall", "--yes", "datasets")
    here.check_ours(checkout)
    assert here.absent("datasets")


def test_the_parity_report_runs_from_a_wheel(wheel, tmp_path):
    here = Environment(tmp_path)
    here.install(wheel)
    assert "usage" in here.run("-m", "duoreid.benchmarks.parity", "--help")


def test_nothing_that_is_installed_imports_the_tests(wheel):
    for name, content in contents(wheel).items():
        if name.endswith(".py"):
            lines = [line.strip() for line in content.decode().splitlines()]
            assert not [line for line in lines if line.startswith(("from tests", "import tests"))], name
