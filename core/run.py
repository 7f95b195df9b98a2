"""What every method's run shares: its data, its record, its clock, testing and logging."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from core import report
from core.config import Config, DataConfig
from core.data import Dataset, Images
from core.learner import Learner, MakeLearner
from core.loop import EpochReport
from core.methods.base import TrainingSet
from core.protocols import Metrics, evaluate
from core.record import Record


@dataclass(frozen=True)
class OpenData:
    """A dataset with its decoded images. synthetic: its hidden identities are known for certain."""

    dataset: Dataset
    train: Images
    test: Images

    def training_set(self) -> TrainingSet:
        """Return the half that a method trains on."""
        return TrainingSet(self.dataset.name, self.train, self.dataset.train)


class OpenDataset(Protocol):
    """What the entry point injects: a dataset by name, generated first where it is synthetic and absent."""

    def __call__(self, name: str, config: DataConfig) -> OpenData: ...


@dataclass
class Run:
    """One run of one backend: its settings, its record, and what it has found so far."""

    config: Config
    make_learner: MakeLearner
    runtime: Any
    record: Record
    say: Callable[[str], None] = print
    rows: list[report.Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage's."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spend(stage, time.perf_counter() - began)

    def spend(self, stage: str, seconds: float) -> None:
        """Add to a stage's time."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def test(
        self, learner: Learner, data: OpenData, names: list[str], epoch: EpochReport | None = None
    ) -> list[Metrics]:
        """Test every embedding network of a learner on a dataset; add its rows to the table and the log."""
        began = time.perf_counter()
        with self.timed("testing"):
            size, count = self.config.run.evaluate_batch, len(data.test)
            chunks = (data.test[np.arange(i, min(i + size, count))] for i in range(0, count, size))
            searches = [evaluate(features, data.dataset)[0] for features in learner.embed(chunks)]
        facts = epoch.facts if epoch else {}
        spent = epoch.label_seconds + epoch.train_seconds + time.perf_counter() - began if epoch else None
        for name, search in zip(names, searches, strict=True):
            self.rows.append(report.Row(name, search.mean, facts, spent))
            self.record.line("test", network=name, search=search.name, **vars(search.mean))
            self.say(f"  {name}: mAP {100 * search.mean.mean_ap:.1f}, rank-1 {100 * search.mean.rank1:.1f}")
        return [search.mean for search in searches]

    def log_epoch(self, stage: str, epoch: EpochReport, epochs: int) -> None:
        """Print and record what an epoch did."""
        losses = " ".join(f"{name} {value:.3f}" for name, value in epoch.losses.items())
        facts = epoch.facts
        found = f" · {facts['clusters']:.0f} clusters, {facts['outliers']:.0f} outliers" if "clusters" in facts else ""
        agreed = f", ARI {facts['adjusted_rand']:.3f}" if "adjusted_rand" in facts else ""
        spent = epoch.label_seconds + epoch.train_seconds
        self.say(f"{stage} · epoch {epoch.epoch + 1}/{epochs} · {spent:.1f} s{found}{agreed} · {losses}")
        self.record.line("epoch", stage=stage, **vars(epoch))
