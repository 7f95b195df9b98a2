"""`python -m benchmarks.recipe --preset mmt-resnet50-duke-market --share 0.02`: the hours of a whole published recipe.

Each part of the recipe runs on made-up data of the published sizes and is timed: steps of stage 1, embedding,
clustering, steps of adaptation, snapshots, tests. Of pictures and of steps a share is made, at least three steps;
features are clustered and ranked at the full size, since their cost does not grow in proportion. Times by counts are
the recipe's hours. Beside them stands the share of time in which the device waits: for the next batch, for images, or
while the CPU clusters, ranks and saves. In the loops CUDA events say it, where there is a device: how long it had a
step to do. What is idle within a step is not seen. Pictures lie decoded in memory, as the cache that a first run makes
would. Steps before the timed ones (compilation, CUDA graphs) are left out, and so is the making of the cache. Options
of the training command change the recipe: `--arch tiny --height 64 --width 32 --precision bfloat16`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.measure import command_of, environment
from duoreid.benchmarks.recipe_sets import features, people, size_of, test_of, training_set
from duoreid.benchmarks.watched import Cuda, Read, Unknown, Watched
from duoreid.core.checkpoints import files
from duoreid.core.commands.command import guarded
from duoreid.core.commands.options import parse
from duoreid.core.data import TrainingSet
from duoreid.core.errors import UserError
from duoreid.core.methods.base import Host, Labelling
from duoreid.core.methods.registry import spec_of
from duoreid.core.methods.source import Source
from duoreid.core.methods.spec import PRETRAIN
from duoreid.core.networks.backbones import backbone
from duoreid.core.protocols import evaluate
from duoreid.core.settings.config import Config
from duoreid.core.settings.presets import presets
from duoreid.core.settings.transfer import ClusterConfig
from duoreid.core.tracklets import embed
from duoreid.core.training.loop import Keeper, Progress, run_epoch
from duoreid.core.training.tables import table

DEFAULT, LEAST = "mmt-resnet50-duke-market", 3
SETTLING = {"cpu": 1, "cuda": 5}
"""Steps before the timed ones: on CUDA the last of them records a graph."""


class Silent(Keeper):
    """Keeps nothing and shows no bar."""

    silent = True


@dataclass(frozen=True)
class Part:
    """times: in the published recipe. seconds: of one time. waits: share of it in which the device has nothing to do.

    measured: what was timed. busy: as CUDA events have it, None elsewhere.
    """

    name: str
    measured: str
    times: int
    seconds: float
    waits: float
    busy: float | None = None

    @property
    def hours(self) -> float:
        """In the whole recipe."""
        return self.times * self.seconds / 3600


@dataclass(frozen=True)
class Bench:
    """What every part is measured with."""

    config: Config
    entry: Any
    runtime: Any
    share: float

    @property
    def kind(self) -> str:
        """Of the device: "cuda" or another."""
        return str(getattr(self.runtime.device, "type", self.runtime.device))

    def learner(self, host: Host, seed: int) -> Watched:
        """Return a learner under watch."""
        made = self.entry.make_learner(host.learner_config(), self.runtime, seed)
        return Watched(made, Cuda() if self.kind == "cuda" else Unknown())

    def made(self, word: str) -> TrainingSet:
        """Return the share of a dataset's training pictures: enough for a batch of either stage at least."""
        config = self.config
        sections = config.pretrain, getattr(config, spec_of(config.method).section)
        least = max(one.identities for one in sections), max(one.identities * one.images for one in sections)
        shape = config.data.height, config.data.width
        return training_set(word, self.share, least, shape, config.run.seed)


def stepped(bench: Bench, name: str, host: Host, learner: Watched, labelling: Labelling, times: int) -> Part:
    """Time a share of a stage's steps in the training loop itself."""
    count = max(LEAST, round(bench.share * times))
    schedule, progress = host.schedule, Progress()
    for epoch, iterations in enumerate((SETTLING.get(bench.kind, SETTLING["cuda"]), count)):
        host.schedule = replace(schedule, iterations=iterations)
        learner.forget()
        progress = Progress(epoch, labelling=labelling)
        run_epoch(host, learner, progress, Silent(), loss_every=bench.config.run.loss_every, title=name)
    seconds, waited = progress.train_seconds, learner.waited
    busy = learner.device.busy()
    waits = waited / seconds if busy is None else 1 - busy
    return Part(name, f"{count} steps", times, seconds / count, waits, busy)


def embedded(bench: Bench, name: str, learner: Watched, images: Any, times: int) -> Part:
    """Time the embedding of pictures by all networks that the test asks. times: pictures in the recipe."""
    batch = bench.config.run.evaluate_batch
    learner.embed([images[np.arange(min(batch, len(images)))]])
    read = Read(images)
    began = time.perf_counter()
    embed(learner, read, batch)
    seconds = time.perf_counter() - began
    return Part(name, f"{len(images)} pictures", times, seconds / len(images), read.seconds / seconds)


def on_host(name: str, measured: str, times: int, call: Callable[[], Any]) -> Part:
    """Time what the CPU does while the device waits."""
    began = time.perf_counter()
    call()
    return Part(name, measured, times, time.perf_counter() - began, 1.0)


def saved(name: str, learner: Watched, times: int) -> Part:
    """Time a snapshot: networks and moments from the device to the disk of temporary files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "snapshot.safetensors"
        part = on_host(name, "", times, lambda: files.save(path, learner.export_state(), {}))
        return replace(part, measured=f"{path.stat().st_size / 1e6:.0f} MB")


class Prepared:
    """A learner whose features were made before: what is left of labelling is the clustering."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def embed(self, images: Any) -> np.ndarray:
        """Return the features, whatever the images."""
        return self.vectors

    def relabel(self, centroids: np.ndarray) -> None:
        """Take the centroids, which is little work."""


class Unread:
    """Images of which only the number is asked."""

    def __init__(self, count: int) -> None:
        self.shape = (count, 1, 1, 3)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        raise ValueError(f"{len(self)} pictures of the full size are counted, not made: rows {rows} cannot be read")


def clustered(bench: Bench) -> Part:
    """Time the clustering of the target's features at its full size."""
    config, size = bench.config, size_of(bench.config.data.target)
    spec, split = spec_of(config.method), people(size.identities, size.images, size.cameras)
    vectors = features(split, len(spec.embedders), backbone(config.network.arch).features, config.run.seed)
    full = TrainingSet(config.data.target, Unread(len(split)), split)
    host = spec.host(config, dict.fromkeys(spec.datasets, full), seed=config.run.seed)
    measured = f"{len(split):,} x {vectors.shape[2]}"
    return on_host(
        "clustering", measured, getattr(config, spec.section).epochs, lambda: host.label(Prepared(vectors), 0)
    )


def ranked(bench: Bench, times: int) -> Part:
    """Time the ranking of the test's features at their full size. times: networks tested, in all tests."""
    dataset = test_of(bench.config.data.target)
    vectors = features(dataset.test, 1, backbone(bench.config.network.arch).features, bench.config.run.seed)
    trial = dataset.searches[0].trials[0]
    measured = f"{len(trial.query):,} x {len(trial.gallery):,}"
    return on_host("testing: ranking", measured, times, lambda: evaluate(vectors[0], dataset))


def measure(bench: Bench) -> list[Part]:
    """Measure every part of a recipe from a source to a target."""
    config = bench.config
    spec, seed, target = spec_of(config.method), config.run.seed, size_of(config.data.target)
    adapt, tested = getattr(config, spec.section), target.query + target.gallery
    networks, tests = len(spec.students), -(-adapt.epochs // config.run.evaluate_every)
    data = {"source": bench.made(config.data.source), "target": bench.made(config.data.target)}

    host = Source(config, data, seed=seed)
    learner = bench.learner(host, seed)
    pretrain, times = config.pretrain, networks * config.pretrain.epochs
    parts = [
        stepped(bench, "stage 1: steps", host, learner, host.label(learner, 0), times * pretrain.iterations),
        saved("stage 1: saving", learner, times),
        embedded(bench, "stage 1: embedding the test", learner, data["target"].images, networks * tested),
    ]
    del learner

    host = spec.host(config, data, seed=seed)
    learner = bench.learner(host, seed)
    labels = data["target"].split.identities
    labelling = Labelling(labels, int(labels.max()) + 1)
    return [
        *parts,
        embedded(bench, "embedding the target", learner, data["target"].images, adapt.epochs * target.images),
        clustered(bench),
        stepped(bench, "adaptation: steps", host, learner, labelling, adapt.epochs * adapt.iterations),
        saved("adaptation: saving", learner, adapt.epochs),
        embedded(bench, "testing: embedding", learner, data["target"].images, tests * tested),
        ranked(bench, networks + tests * len(spec.embedders)),
    ]


def totals(parts: Sequence[Part]) -> dict[str, float]:
    """Return the recipe's hours and the share of them in which the device waits."""
    hours = sum(part.hours for part in parts)
    return {"hours": hours, "waits": sum(part.hours * part.waits for part in parts) / hours}


def text(config: Config, about: str, share: float, parts: Sequence[Part]) -> str:
    """Return the table."""
    rows = []
    for part in parts:
        busy = "" if part.busy is None else f"{part.busy:.0%}"
        each = f"{part.seconds:.2f} s" if part.seconds >= 1 else f"{1000 * part.seconds:.2f} ms"
        rows.append([part.name, part.measured, each, f"{part.times:,}", f"{part.hours:.3f}", f"{part.waits:.0%}", busy])
    whole = totals(parts)
    rows.append(["the whole recipe", "", "", "", f"{whole['hours']:.3f}", f"{whole['waits']:.0%}", ""])
    header = ("", "measured", "each", "times", "hours", "device waits", "busy, by events")
    where = f"{config.data.source} to {config.data.target}, {config.network.arch}"
    return f"{config.preset}: {where}, {share:g} of pictures and steps\n{about}\n\n{table(header, rows)}"


def prepared(backend: str, share: float, argv: Sequence[str]) -> Bench:
    """Open a backend for a recipe; UserError where it has not both stages, or the share is none."""
    if not 0 < share <= 1:
        raise UserError(
            f"--share must lie above 0 and be at most 1, got {share:g}: the share of the recipe that is made"
        )
    entry = importlib.import_module(f"duoreid.backends.{backend}.entry").BACKEND
    preset = [] if any(word.partition("=")[0] == "--preset" for word in argv) else ["--preset", DEFAULT]
    config, device = parse([*argv, *preset], "python -m benchmarks.recipe", entry.runtime, presets())
    spec = spec_of(config.method)
    if PRETRAIN not in spec.stages or not isinstance(getattr(config, spec.section), ClusterConfig):
        raise UserError(
            f"{config.preset} has no stage on a source and one of clusters: give another --preset, as {DEFAULT}."
        )
    for word in (config.data.source, config.data.target):
        size_of(word)
    return Bench(config, entry, entry.open_runtime(device), share)


def run(given: argparse.Namespace, more: Sequence[str]) -> None:
    """Measure, print the table and write the JSON file."""
    bench = prepared(given.backend, given.share, more)
    parts, about = measure(bench), bench.entry.about(bench.runtime)
    here, command = environment(), command_of("recipe")
    print(text(bench.config, about, given.share, parts))
    print(
        f"\n{command}; commit {here['commit']}, {here['cores']} cores of {here['processor']}, load {here['load']:.1f}"
    )
    if given.output:
        rows = [asdict(part) | {"hours": part.hours} for part in parts]
        content = {"command": command, **here, "about": about, "preset": bench.config.preset, "share": given.share}
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(json.dumps(content | totals(parts) | {"parts": rows}, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipe", description=__doc__, allow_abbrev=False)
    parser.add_argument("--share", type=float, default=0.02, help="of pictures and steps that are made (default: 0.02)")
    parser.add_argument("--backend", choices=("torch", "mindspore"), default="torch")
    parser.add_argument("--output", type=Path, help="JSON file")
    given, more = parser.parse_known_args(arguments)
    return guarded(lambda: run(given, more))


if __name__ == "__main__":
    import duoreid.benchmarks.recipe as module

    sys.exit(module.main())
