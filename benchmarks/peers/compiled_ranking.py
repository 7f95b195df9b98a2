"""The compiled (Cython) ranking of fastreid and of torchreid, loaded from the installed packages by path.

By path, since importing the packages would pull in their training frameworks. The wheel of pyppbox-torchreid holds
torchreid's ranking compiled; torchreid's own archive on the registry lacks it. fastreid's archive holds the source,
which is compiled here once and kept in a cache folder.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

Rank = Callable[..., tuple]


def load() -> tuple[dict[str, Rank], dict[str, str]]:
    """Return the rankings that are to be had, by package, and why the others are not.

    Each is called as evaluate(distances float32 (Q, G), query_ids, gallery_ids, query_cameras, gallery_cameras,
    max_rank), ids and cameras int64; it returns (CMC, ...).
    """
    rankings, missing = {}, {}
    for name, loader in (("fastreid", _fastreid), ("torchreid", _torchreid)):
        try:
            rankings[name] = loader().evaluate_cy
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            missing[name] = f"{type(error).__name__}: {error}"
    return rankings, missing


def _folder(package: str, hint: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"{package} is not installed; {hint}")
    return Path(spec.submodule_search_locations[0])


def _torchreid() -> ModuleType:
    folder = _folder("pyppbox_torchreid", "pip install --no-deps pyppbox-torchreid") / "metrics" / "rank_cylib"
    return _load(folder / f"rank_cy{sysconfig.get_config_var('EXT_SUFFIX')}")


def _fastreid() -> ModuleType:
    folder = _folder("fastreid", "pip install --no-deps fastreid==1.4.0")
    source = folder / "evaluation" / "rank_cylib" / "rank_cy.pyx"
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    cache = Path(tempfile.gettempdir()) / f"duoreid-fastreid-ranking-{os.getuid()}-numpy{np.__version__}"
    built = cache / f"rank_cy{suffix}"
    if not built.exists():
        with tempfile.TemporaryDirectory() as work:
            shutil.copy(source, work)
            flags = {"CFLAGS": f"-O3 -w -I{np.get_include()}", "PYTHONPATH": ""}
            command = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "rank_cy.pyx"]
            subprocess.run(command, cwd=work, env=os.environ | flags, check=True, capture_output=True)
            cache.mkdir(mode=0o700, exist_ok=True)
            shutil.copy(Path(work) / f"rank_cy{suffix}", built)
    return _load(built)


def _load(file: Path) -> ModuleType:
    if not file.exists():
        raise ImportError(f"{file} does not exist: the package was not compiled for this Python")
    loader = importlib.machinery.ExtensionFileLoader("rank_cy", str(file))
    spec = importlib.util.spec_from_loader("rank_cy", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
