"""What every method's run shares: its data, its record, its clock; training with snapshots kept, testing, logging."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from duoreid.core.checkpoints.files import digest
from duoreid.core.contract.learner import Learner, MakeLearner
from duoreid.core.contract.processes import ALONE, Processes, check_same, first, in_turn, largest
from duoreid.core.contract.state import capacity_of, check_state
from duoreid.core.data import Chunks, Dataset, Images
from duoreid.core.errors import UserError
from duoreid.core.methods.base import Method, TrainingSet
from duoreid.core.protocols import Metrics, SearchResult, as_plain, evaluate, from_plain
from duoreid.core.settings.config import Config, DataConfig
from duoreid.core.training import tables as report
from duoreid.core.training.loop import EpochReport, Keeper, Progress, train
from duoreid.core.training.record import Record
from duoreid.core.training.snapshot import Past, Position, Snapshot
from duoreid.core.training.stop import Stop


@dataclass(frozen=True)
class OpenData:
    """A dataset with its decoded images. synthetic: its hidden identities are known for certain."""

    dataset: Dataset
    train: Images
    test: Images

    def training_set(self) -> TrainingSet:
        """Return the half that a method trains on."""
        return TrainingSet(self.dataset.name, self.train, self.dataset.train)

    def fingerprint(self) -> str:
        """Return a digest of who is on which training image, and of the pixels of some images of each half."""
        found = hashlib.blake2b(digest_size=8)
        for values in (self.dataset.train.identities, self.dataset.train.cameras):
            found.update(np.ascontiguousarray(values, np.int64).tobytes())
        for images in (self.train, self.test):
            rows = np.linspace(0, len(images) - 1, min(8, len(images))).astype(np.int64)
            found.update(f"{len(images)}".encode() + images[rows].tobytes())
        return found.hexdigest()


class OpenDataset(Protocol):
    """What the entry point injects: a dataset by name, generated first where it is synthetic and absent."""

    def __call__(self, name: str, config: DataConfig) -> OpenData: ...


@dataclass
class Run:
    """One run of one backend: its settings, its record, and what it has found so far.

    snapshot: where an interrupted run is taken up again, None in a new one. processes: the processes that do it
    together.
    """

    config: Config
    make_learner: MakeLearner
    runtime: Any
    record: Record
    say: Callable[[str], None] = print
    stop: Stop = field(default_factory=Stop)
    rows: list[report.Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    best: float = -1.0
    backends: list[dict[str, Any]] = field(default_factory=list)
    data: dict[str, str] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    processes: Processes = ALONE

    def take_up(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot: the table, the times and the best so far are what they were."""
        past, self.snapshot = snapshot.past, snapshot
        self.rows, self.seconds, self.best, self.backends = past.rows, past.seconds, past.best, past.backends
        self.data = past.data

    def checked(self, open_dataset: OpenDataset) -> OpenDataset:
        """Return open_dataset with a check: a run that is taken up again must meet the images that it began with."""

        def opened(name: str, config: DataConfig) -> OpenData:
            data = in_turn(self.processes, lambda: open_dataset(name, config))
            key, found = f"{name} {config.trials}", data.fingerprint()
            if self.data.setdefault(key, found) != found:
                raise UserError(
                    f"the images of {name} in {config.data} are not those that the run in {self.record.folder} began "
                    "with, so it cannot go on exactly: they were replaced, or generated or decoded by another version. "
                    "Put them back, or begin a new run."
                )
            return data

        return opened

    def within(self, stage: int, network: int = 0) -> bool:
        """Whether the run is taken up again in the middle of this part."""
        return self.snapshot is not None and (self.snapshot.position.stage, self.snapshot.position.network) == (
            stage,
            network,
        )

    def passed(self, stage: int, network: int = 0) -> bool:
        """Whether the interrupted run had finished this part and begun a later one."""
        return self.snapshot is not None and (self.snapshot.position.stage, self.snapshot.position.network) > (
            stage,
            network,
        )

    def train(
        self,
        method: Method,
        learner: Learner,
        after: Callable[[EpochReport], None],
        *,
        stage: int,
        network: int = 0,
        title: str,
    ) -> None:
        """Train through a part's epochs, keeping snapshots; from the run's snapshot where it lies in this part.

        stage, network: see core.training.snapshot.Position. after: see core.training.loop.train.
        """
        start = None
        if self.within(stage, network):
            here, config = self.snapshot, method.learner_config()
            where = f"the last moment of {self.record.folder}"
            check_state(here.state, replace(config, capacity=capacity_of(here.state, config)), where)
            learner.import_state(here.state)
            method.remember(here.memory)
            start, self.snapshot = here.progress, replace(here, state={})
        keeper = _Keeper(self, method, learner, stage, network)
        train(method, learner, after, loss_every=self.config.run.loss_every, title=title, start=start, keeper=keeper)

    def keep(self, position: Position, learner: Learner, memory: dict[str, Any], progress: Progress) -> None:
        """Write the snapshot, from which `--resume` goes on exactly."""
        with self.timed("saving"):
            record, state = self.record, learner.export_state()
            past = Past(self.rows, self.seconds, self.best, self.backends, self.data, record.lines, record.elapsed)
            if self.processes.size > 1:
                check_same(self.processes, digest(state), f"their networks at {position}")
            record.keep(Snapshot(position, state, progress, memory, past, record.settings()))

    def asked_to_stop(self) -> bool:
        """Whether a signal has been noted: by any process, so that all come here at the same iteration."""
        self.stop.asked = largest(self.processes, self.stop.asked or 0) or None
        return self.stop.asked is not None

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

    def measured(self, features: np.ndarray, dataset: Dataset) -> list[SearchResult]:
        """Test features under every search of a dataset, on the first process for all of them."""
        return from_plain(first(self.processes, lambda: {"results": as_plain(evaluate(features, dataset))})["results"])

    def test(
        self, learner: Learner, data: OpenData, names: list[str], epoch: EpochReport | None = None
    ) -> list[Metrics]:
        """Test every embedding network of a learner on a dataset; add its rows to the table and the log.

        Nothing is tested, and nothing returned, on a dataset without labels.
        """
        if not data.dataset.searches:
            return []
        began = time.perf_counter()
        with self.timed("testing"):
            embedded = learner.embed(Chunks(data.test, self.config.run.evaluate_batch))
            searches = [self.measured(features, data.dataset)[0] for features in embedded]
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
        self.record.line(
            "epoch", stage=stage, backend=self.backends[-1]["backend"] if self.backends else "", **vars(epoch)
        )


@dataclass
class _Keeper(Keeper):
    """Keeps the moments of one part of a run: every `--save-every` iterations, and when the run is asked to stop."""

    run: Run
    method: Method
    learner: Learner
    stage: int
    network: int

    @property
    def silent(self) -> bool:
        return self.run.processes.index > 0

    def due(self, step: int) -> bool:
        """Processes agree on a signal where the losses are read, and not in between: to ask would make them wait."""
        settings = self.run.config.run
        if settings.save_every > 0 and step % settings.save_every == 0:
            return True
        return (self.run.processes.size == 1 or step % settings.loss_every == 0) and self.run.asked_to_stop()

    def keep(self, progress: Progress) -> None:
        asked, position = self.run.asked_to_stop(), Position(self.stage, self.network, progress.epoch, progress.step)
        self.run.keep(position, self.learner, self.method.memory(), progress)
        if asked or self.run.processes.size == 1:
            largest(
                self.run.processes, 0
            )  # no process ends, and thereby the job, before the first has written the snapshot
            self.run.stop.check()

    def stepping(self) -> AbstractContextManager[None]:
        return self.run.stop.deferred()
