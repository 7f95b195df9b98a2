"""A snapshot of a run: all that it needs to go on exactly, in one checkpoint.

Tensors: the learner's state (core/contract/state.py) and `labels`, int32 (N,), what the running epoch trains on.
Metadata: `config`, `position`, `epoch` (what the running epoch has done), `memory` (the method's) and `past` (the run's
history: table, times, log and backends so far).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core.checkpoints import files
from duoreid.core.checkpoints.run_folder import LAST
from duoreid.core.errors import UserError
from duoreid.core.methods.base import Labelling
from duoreid.core.methods.registry import spec_of
from duoreid.core.protocols import Metrics
from duoreid.core.settings.config import Config
from duoreid.core.training.loop import Means, Progress
from duoreid.core.training.resume import check_same
from duoreid.core.training.tables import Row

LABELS = "labels"
PREVIOUS = "previous.safetensors"


@dataclass(frozen=True, order=True)
class Position:
    """Where a run stands.

    stage: the place of its section among the method's stages, from 1. network: of the stage's networks, from 0. epoch:
    the running one, from 0; step: its iterations done.
    """

    stage: int = 1
    network: int = 0
    epoch: int = 0
    step: int = 0

    def __str__(self) -> str:
        part = f"stage 1, network {self.network + 1}" if self.stage == 1 else f"stage {self.stage}"
        return f"{part}, epoch {self.epoch + 1}, iteration {self.step}"


@dataclass
class History:
    """What a run has seen so far; it grows with the run, and each snapshot holds it as it was.

    rows: of the table. seconds: by stage. best: the best score that `--select` has seen on test labels. backends: who
    computed from which position on. data: fingerprints of the datasets. log: lines of metrics.jsonl. elapsed: seconds
    since the start, pauses left out.
    """

    rows: list[Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    best: float = -1.0
    backends: list[dict[str, Any]] = field(default_factory=list)
    data: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    elapsed: float = 0.0


@dataclass(frozen=True)
class Snapshot:
    """See the head of this file. state: the learner's; config: the run's settings as in config.json.

    file: the name of the one that it was read from.
    """

    position: Position
    state: dict[str, np.ndarray]
    progress: Progress
    memory: dict[str, Any]
    history: History
    config: dict[str, Any]
    file: str = LAST

    def save(self, path: Path) -> None:
        """Write the snapshot; UserError where a tensor is not finite, with what stood at `path` untouched."""
        bad = [name for name, value in self.state.items() if not np.isfinite(value).all()]
        if bad:
            raise UserError(
                f"{len(bad)} tensors are not finite at {self.position} ({', '.join(bad[:3])} ...): training has "
                "diverged and stops here. The states saved before are good. Lower the learning rate, or look for what "
                "is unusual in the data."
            )
        labelling = self.progress.labelling
        running = asdict(self.progress) | {"labelling": {"classes": labelling.classes, "facts": labelling.facts}}
        metadata = {
            "config": self.config,
            "position": asdict(self.position),
            "epoch": running,
            "memory": self.memory,
            "past": asdict(self.history),
        }
        files.save(path, {**self.state, LABELS: labelling.labels.astype(np.int32)}, metadata)


def load(path: Path) -> Snapshot:
    """Read a snapshot; UserError where the file is damaged or holds something else."""
    tensors, metadata = files.load(path)
    if "position" not in metadata or LABELS not in tensors:
        raise UserError(
            f"{path} holds networks but no snapshot of a run, so nothing can be continued from it: it is another file "
            f"under the name of {LAST}. Give the folder of the run as its own process left it."
        )
    try:
        return _snapshot(tensors, metadata)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} does not say what a snapshot of a run must say ({type(error).__name__}: {error}): another version "
            "wrote it, or somebody changed it. Go on with the version that began the run."
        ) from error


def _snapshot(tensors: dict[str, np.ndarray], metadata: dict[str, Any]) -> Snapshot:
    labels, epoch, past = tensors.pop(LABELS), dict(metadata["epoch"]), dict(metadata["past"])
    position, config = Position(**metadata["position"]), metadata["config"]
    if not isinstance(config, dict):
        raise ValueError(f"settings {type(config).__name__}")
    stages = spec_of(config["method"]).stages
    if position.stage not in range(1, len(stages) + 1):
        raise ValueError(f"stage {position.stage} of {len(stages)}")
    epoch["labelling"] = Labelling(labels, **epoch["labelling"])
    epoch["losses"] = Means(**epoch["losses"])
    lately = epoch.get("lately", {"done": epoch["step"], "start": epoch["step"]})  # version 0.2 had none
    epoch["lately"] = Means(**lately)
    past["rows"] = [Row(**(row | {"metrics": Metrics(**row["metrics"])})) for row in past["rows"]]
    return Snapshot(position, tensors, Progress(**epoch), metadata["memory"], History(**past), config)


def latest(folder: Path, config: Config, settings: Mapping[str, Any], warn: Callable[[str], None]) -> Snapshot | None:
    """Return the last snapshot of a run, or the one before where the last file is damaged; None before the first.

    settings: the run's, as in config.json. Going on is exact, so the older snapshot costs time and nothing else.
    Nothing is written. UserError where both are damaged, were made with other settings, or are past the
    last epoch of the configuration.
    """
    paths = [path for path in (folder / LAST, folder / PREVIOUS) if path.exists()]
    for path in paths:
        try:
            snapshot = load(path)
        except UserError as error:
            if path == paths[-1]:
                raise UserError(
                    f"{error}\nThe run cannot be continued. `--start {folder}` begins a new one from its finished "
                    "networks of stage 1."
                ) from error
            warn(f"warning: {error}\nGoing on from {paths[-1].name} instead, which repeats what came after it.")
            continue
        check_same(snapshot.config, config, settings, path)
        schedule = getattr(config, spec_of(config.method).stages[snapshot.position.stage - 1])
        if snapshot.position.epoch >= schedule.epochs:
            raise UserError(
                f"--epochs {schedule.epochs} is too few: {folder} has begun epoch {snapshot.position.epoch + 1} and "
                "cannot go back."
            )
        return replace(snapshot, file=path.name)
    return None
