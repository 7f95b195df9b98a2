"""`python -m benchmarks.weights`: features of other libraries' networks, beside ours with the same weights.

Each library that is installed makes its own ResNets with random weights and statistics, saves them as its users do, and
runs them on pixels; the file is then opened as `duoreid evaluate FILE --arch ...` opens it. The features, divided by
their lengths, must agree to 1e-5. What a reader refuses is shown with its words, and a library that cannot be imported
is named with its reason.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import environment
from benchmarks.peers.networks import PEERS, Peer
from duoreid.core.checkpoints.files import write_atomically
from duoreid.core.checkpoints.trained import open_trained
from duoreid.core.errors import UserError
from duoreid.core.networks.images import standardise
from duoreid.core.random import rng

LIMIT = 1e-5
HEIGHT, WIDTH, IMAGES = 128, 64, 4
RESULTS = Path(__file__).resolve().parent / "results"


def ours(backend: str, arch: str, pixels: np.ndarray, file: Path, last_stride: int | None) -> np.ndarray:
    """Return our features of a file, float32 (B, D), by one backend. UserError where the file is refused."""
    chosen = import_module(f"duoreid.backends.{backend}.entry").BACKEND
    trained = open_trained(file, arch=arch, size=(HEIGHT, WIDTH))
    (model,) = trained.models.values()
    config = model.config
    if last_stride is not None:
        config = replace(config, network=replace(config.network, last_stride=last_stride))
    learner = chosen.make_learner(config, chosen.open_runtime(chosen.runtime()), 0)
    learner.import_state(model.state)
    return learner.embed([pixels])[0]


def compare(name: str, peer: Peer, arch: str, folder: Path) -> list[dict[str, Any]]:
    """Return a row for each backend: the largest difference of a component, or why there is none."""
    pixels = rng(0, "benchmark/images").integers(0, 256, (IMAGES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    file = folder / f"{name.replace(' ', '-')}-{arch}{peer.suffix}"
    row: dict[str, Any] = {"library": name, "version": _version(peer.package), "arch": arch}
    try:
        theirs = peer.run(arch, standardise(pixels, np.float32), file)
    except (ImportError, AttributeError, RuntimeError) as error:
        return [row | {"not_run": f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"}]
    theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    rows = []
    for backend in peer.backends:
        try:
            apart = np.abs(ours(backend, arch, pixels, file, peer.last_stride) - theirs).max()
            rows.append(row | {"backend": backend, "largest_difference": float(apart)})
        except UserError as error:
            rows.append(row | {"backend": backend, "refused": str(error).replace(str(file), file.name)})
    return rows


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(package), "__version__", "not installed"))


def told(row: dict[str, Any]) -> str:
    """Return a row as a line."""
    head = f"{row['library']} {row['version']}, {row['arch']}"
    if "not_run" in row:
        return f"{head}: not run, {row['not_run']}"
    if "refused" in row:
        return f"{head}, {row['backend']}: refused: {row['refused'].splitlines()[0]}"
    return f"{head}, {row['backend']}: largest difference of a feature's component {row['largest_difference']:.1e}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare each library that is installed; return 1 where one differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.weights", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--only", choices=PEERS, nargs="+", default=list(PEERS), help="networks (default: all)")
    parser.add_argument("--output", type=Path, default=RESULTS / "weights.json", help="default: %(default)s")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            for arch in PEERS[name].archs:
                for row in compare(name, PEERS[name], arch, Path(folder)):
                    print(told(row), flush=True)
                    rows.append(row)
    for row in rows:  # libraries that did not run at first may be known by now
        row["version"] = _version(PEERS[row["library"]].package)
    worst = max((row["largest_difference"] for row in rows if "largest_difference" in row), default=0.0)
    print(f"largest of all: {worst:.1e}, limit {LIMIT:g}")
    report = {"environment": environment(), "limit": LIMIT, "images": [IMAGES, HEIGHT, WIDTH], "results": rows}
    write_atomically(options.output, (json.dumps(report, indent=1) + "\n").encode())
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
