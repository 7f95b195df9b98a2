"""`python -m benchmarks.handover`: a run that changes its backend in the middle, beside what noise alone does to it.

One backend trains MMT up to the middle and stops; the other takes the run up and ends it, and so does the first one
itself, from the same snapshot and from copies of it whose weights are multiplied by 1 + 1e-7 times a normal number: the
noise of float32. Prints the total loss of each epoch; `--plot FILE.png` draws it. The verdict: from the snapshot on the
run that changed its backend stays as close to the straight one as the widest of the disturbed ones does, times three.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from duoreid.benchmarks import style
from duoreid.benchmarks.soak import RUN, begin, lines, summary, undisturbed
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.random import rng
from duoreid.core.training import tables as report
from duoreid.core.training.snapshot import LAST, PREVIOUS
from duoreid.datasets.synthetic import generate

NOISE, DRAWS, FACTOR = 1e-7, 4, 3.0


def stop_in_the_middle(backend: str, argv: list[str], epoch: int, stack: Path) -> None:
    """Train up to some iteration of an epoch of stage 2 and end by SIGTERM."""
    process = begin(backend, argv, stack)
    for line in process.stdout:
        if line.startswith(f"mmt · epoch {epoch}/"):
            break
    process.send_signal(signal.SIGTERM)
    process.communicate()


def disturb(run: Path, draw: int) -> None:
    """Multiply the weights of a run's last snapshot by 1 + noise."""
    state, metadata = checkpoint.load(run / LAST)
    for name, value in state.items():
        if name.endswith(("weight", "bias")) and not name.startswith("adam."):
            noise = NOISE * rng(draw, f"noise/{name}").standard_normal(value.shape)
            state[name] = (value * (1 + noise)).astype(value.dtype)
    checkpoint.save(run / LAST, state, metadata)
    (run / PREVIOUS).unlink(missing_ok=True)


def curve(run: Path) -> list[float]:
    """Return the total loss of each epoch of stage 2."""
    return [line["losses"]["total"] for line in lines(run) if line["event"] == "epoch" and line["stage"] == "mmt"]


def measure(first: str, second: str, folder: Path, argv: list[str], epoch: int) -> dict[str, list[float]]:
    """Return the curves by name: the straight run first, the one that changed its backend second."""
    stack, middle = folder / "stack", folder / "middle"
    stop_in_the_middle(first, [*argv, "--output", str(middle)], epoch, stack)
    straight, changed = f"{first} alone", f"{first}, then {second}"
    curves = {}
    for name, backend in ((straight, first), (changed, second), *((f"noise {i + 1}", first) for i in range(DRAWS))):
        run = folder / name.replace(", ", "-").replace(" ", "-")
        shutil.copytree(middle, run)
        if name.startswith("noise"):
            disturb(run, int(name.split()[1]))
        undisturbed(backend, ["--resume", str(run)], stack)
        curves[name] = curve(run)
        if name == changed:
            parts = (f"{part['backend']} from {part['since']}" for part in summary(run)["backends"])
            print(f"{changed}: {'; '.join(parts)}")
    return curves


def distances(curves: Mapping[str, list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return by epoch: how far the second curve is from the first, and how far the farthest of the others."""
    straight, changed, *noisy = (np.array(values) for values in curves.values())
    return np.abs(changed - straight), np.max([np.abs(one - straight) for one in noisy], axis=0)


def inside(curves: Mapping[str, list[float]]) -> bool:
    """Return whether the run that changed its backend stays within FACTOR times the noise of float32."""
    apart, noise = distances(curves)
    return bool((apart <= FACTOR * noise + 1e-4).all())


def plot(curves: Mapping[str, list[float]], epoch: int, path: Path) -> None:
    """Draw the curves, those of disturbed runs as a band."""
    names = list(curves)
    epochs = np.arange(len(curves[names[0]])) + 1
    noisy = np.array([curves[name] for name in (names[0], *names[2:])])
    with style.drawing() as pyplot:
        figure, axes = pyplot.subplots(figsize=(7.2, 4))
        axes.fill_between(
            epochs, noisy.min(0), noisy.max(0), color=style.NOISE, alpha=0.45, lw=0, label="the same with 1e-7 noise"
        )
        axes.plot(epochs, curves[names[0]], label=names[0], color=style.FIRST)
        axes.plot(epochs, curves[names[1]], "--", label=names[1], color=style.SECOND)
        axes.axvline(epoch, color=style.SOFT, linewidth=0.8)
        axes.annotate(
            " the backend changes here", (epoch, axes.get_ylim()[1]), va="top", fontsize=8.5, color=style.SOFT
        )
        axes.set(xlabel="epoch of stage 2", ylabel="total loss of MMT")
        axes.legend(loc="lower left")
        verdict = "stays within" if inside(curves) else "LEAVES"
        style.head(figure, f"A run that changes its backend {verdict} the noise of float32")
        style.save(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", default="torch")
    parser.add_argument("--second", default="mindspore")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    middle = given.epochs // 2
    with tempfile.TemporaryDirectory(prefix="handover-") as temporary:
        folder = Path(temporary)
        for name in ("synthetic-a", "synthetic-b"):
            generate(name, folder / "data", size="tiny", progress=False)
        argv = ["--data", str(folder / "data"), *RUN, "--epochs", str(given.epochs)]
        curves = measure(given.first, given.second, folder, argv, middle)
    rows = [(name, *(f"{value:.4f}" for value in values)) for name, values in curves.items()]
    print("\n" + report.table(("total loss", *(f"epoch {i + 1}" for i in range(given.epochs))), rows))
    apart, noise = distances(curves)
    passed = inside(curves)
    print(f"\nfarthest from the straight run: {apart.max():.4f} changed, {noise.max():.4f} by noise alone.")
    print("inside the noise of float32" if passed else "OUTSIDE the noise of float32")
    if given.json:
        given.json.write_text(json.dumps(curves, indent=2) + "\n")
    if given.plot:
        plot(curves, middle, given.plot)
    return 0 if passed else 1


if __name__ == "__main__":
    import duoreid.benchmarks.handover as module

    sys.exit(module.main())
