"""What every method's run shares: its data, its record, its clock; training with snapshots, testing, logging."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from duoreid.core.checkpoints.files import digest
from duoreid.core.contract.learner import Learner, MakeLearner
from duoreid.core.contract.processes import check_same, first, in_turn, largest
from duoreid.core.contract.state import capacity_of, check_state
from duoreid.core.data import Dataset, OpenData
from duoreid.core.errors import UserError
from duoreid.core.methods.base import Host
from duoreid.core.methods.registry import spec_of
from duoreid.core.methods.spec import MethodSpec
from duoreid.core.numeric.sharing import ALONE, Processes
from duoreid.core.protocols import Metrics, SearchResult, as_plain, evaluate, from_plain
from duoreid.core.settings.config import SELECTIONS, Config, DataConfig
from duoreid.core.tracklets import embed_test
from duoreid.core.training import divergence, memory
from duoreid.core.training.loop import EpochReport, Keeper, Progress, train
from duoreid.core.training.pace import Pace
from duoreid.core.training.record import Record
from duoreid.core.training.snapshot import History, Position, Snapshot
from duoreid.core.training.stop import Stop
from duoreid.core.training.tables import Row


class OpenDataset(Protocol):
    """What the entry point injects: a dataset by name, generated first where it is synthetic and absent.

    trial: the training split, of a dataset that has several.
    """

    def __call__(self, name: str, config: DataConfig, trial: int = 1) -> OpenData: ...


@dataclass
class Run:
    """One run of one backend: its settings, its folder, and where it stands.

    snapshot: where an interrupted run is taken up again, None in a new one. processes: those that do it together.
    """

    config: Config
    make_learner: MakeLearner
    runtime: Any
    record: Record
    say: Callable[[str], None] = print
    stop: Stop = field(default_factory=Stop)
    snapshot: Snapshot | None = None
    processes: Processes = ALONE
    pace: Pace = field(default_factory=Pace)
    warned: bool = False

    @property
    def spec(self) -> MethodSpec:
        """The method that is run."""
        return spec_of(self.config.method)

    @property
    def history(self) -> History:
        """What the run has seen so far."""
        return self.record.history

    def checked(self, open_dataset: OpenDataset) -> OpenDataset:
        """Return open_dataset with a check: a run that is taken up again must meet the images that it began with."""

        def opened(name: str, config: DataConfig, trial: int = 1) -> OpenData:
            data = in_turn(self.processes, lambda: open_dataset(name, config, trial))
            key, fingerprint = f"{name} ({trial},)", data.fingerprint()
            if self.history.data.setdefault(key, fingerprint) != fingerprint:
                raise UserError(
                    f"the images of {name} in {config.data} are not those that the run in {self.record.folder} began "
                    "with, so it cannot go on exactly: they were replaced, or generated or decoded by another version. "
                    "Put them back, or begin a new run."
                )
            return data

        return opened

    # -- where the run stands -----------------------------------------------------------------------------------

    def stage(self, section: str) -> int:
        """Return the number of the stage that trains by a section, from 1."""
        return self.spec.stages.index(section) + 1

    def _at(self) -> tuple[int, int] | None:
        """The part (stage, network) in which the run is taken up again."""
        return None if self.snapshot is None else (self.snapshot.position.stage, self.snapshot.position.network)

    def within(self, stage: int, network: int = 0) -> bool:
        """Whether the run is taken up again in the middle of this part."""
        return self._at() == (stage, network)

    def passed(self, stage: int, network: int = 0) -> bool:
        """Whether the interrupted run had finished this part and begun a later one."""
        return self.snapshot is not None and self._at() > (stage, network)

    # -- training -----------------------------------------------------------------------------------------------

    def train(
        self,
        host: Host,
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
            here, config = self.snapshot, host.learner_config()
            where = f"the last snapshot of {self.record.folder}"
            check_state(here.state, replace(config, capacity=capacity_of(here.state, config)), where)
            learner.import_state(here.state)
            host.remember(here.memory)
            start, self.snapshot = here.progress, replace(here, state={})
        keeper = _Keeper(self, host, learner, stage, network, title)
        self.pace.begin()
        train(host, learner, after, loss_every=self.config.run.loss_every, title=title, start=start, keeper=keeper)

    def keep(self, position: Position, learner: Learner, memory: dict[str, Any], progress: Progress) -> None:
        """Write the snapshot, from which `--resume` goes on exactly."""
        with self.timed("saving"):
            record, state = self.record, learner.export_state()
            record.clock()
            if (told := divergence.warning_of(state)) and not self.warned:
                self.warned = True
                self.say(told)
            if self.processes.size > 1:
                check_same(self.processes, digest(state), f"their networks at {position}")
            record.keep(Snapshot(position, state, progress, memory, self.history, record.settings()))

    def asked_to_stop(self) -> bool:
        """Whether a signal has been noted: by any process, so that all come here at the same iteration."""
        self.stop.asked = largest(self.processes, self.stop.asked or 0) or None
        return self.stop.asked is not None

    def is_best(self, metrics: Sequence[Metrics], of: Callable[[list[float]], float], labels: str) -> bool:
        """Note a test; whether it is the best so far and `--select` wants it kept.

        of: makes one score of those of several networks or searches. labels: whose they are, in words.
        """
        select = self.config.run.select
        if select not in SELECTIONS:
            return False
        field, words = SELECTIONS[select]
        score = float(of([getattr(one, field) for one in metrics]))
        if score <= self.history.best:
            return False
        self.history.best = score
        self.say(f"  best so far ON THE {labels.upper()} (--select {select}): {words} {100 * score:.1f}")
        return True

    def period(self, name: str, learner: Learner, epoch: EpochReport, **metadata: Any) -> None:
        """Keep an epoch's networks as NAME-epoch-N.safetensors, where `--save-period` asks for this one."""
        period, done = self.config.run.save_period, epoch.epoch + 1
        if period and done % period == 0:
            with self.timed("saving"):
                self.record.save(f"{name}-epoch-{done}".lstrip("-"), learner.export_state(), epoch=done, **metadata)

    def due(self, done: int, epochs: int) -> bool:
        """Whether to test after `done` of so many epochs."""
        return done % self.config.run.evaluate_every == 0 or done == epochs

    # -- times --------------------------------------------------------------------------------------------------

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
        self.history.seconds[stage] = self.history.seconds.get(stage, 0.0) + seconds

    # -- tests --------------------------------------------------------------------------------------------------

    def embedded(self, learner: Learner, data: OpenData) -> np.ndarray:
        """Return the features of the test images, or of its tracklets, float32 (M, N, D)."""
        return embed_test(learner, data, self.config.run.evaluate_batch)

    def measured(self, features: np.ndarray, dataset: Dataset) -> list[SearchResult]:
        """Test features under every search of a dataset, on the first process for all of them."""
        results = first(self.processes, lambda: {"results": as_plain(evaluate(features, dataset))})["results"]
        return from_plain(results)

    def note(self, name: str, network: str, result: SearchResult, facts: dict, spent: float | None) -> None:
        """Add a search's result to the table, the log and the screen. name: of its row; network: of what was tested."""
        self.history.rows.append(Row(name, result.mean, facts, spent))
        self.record.line("test", network=network, search=result.name, **vars(result.mean))

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
            searches = [self.measured(features, data.dataset)[0] for features in self.embedded(learner, data)]
        facts = epoch.facts if epoch else {}
        spent = epoch.seconds + time.perf_counter() - began if epoch else None
        for name, search in zip(names, searches, strict=True):
            self.note(name, name, search, facts, spent)
            self.say(f"  {name}: mAP {100 * search.mean.mean_ap:.1f}, rank-1 {100 * search.mean.rank1:.1f}")
        return [search.mean for search in searches]

    def log_epoch(self, stage: str, epoch: EpochReport, epochs: int) -> None:
        """Print and record what an epoch did."""
        losses = " ".join(f"{name} {value:.3f}" for name, value in epoch.losses.items())
        facts = epoch.facts
        made = f" · {facts['clusters']:.0f} clusters, {facts['outliers']:.0f} outliers" if "clusters" in facts else ""
        agreed = f", ARI {facts['adjusted_rand']:.3f}" if "adjusted_rand" in facts else ""
        self.say(f"{stage} · epoch {epoch.epoch + 1}/{epochs} · {epoch.seconds:.1f} s{made}{agreed} · {losses}")
        self.say(f"  {self.pace.after(stage, epoch, epochs)}{memory.in_words(self.runtime)}")
        backends = self.history.backends
        self.record.line("epoch", stage=stage, backend=backends[-1]["backend"] if backends else "", **vars(epoch))


@dataclass
class _Keeper(Keeper):
    """Keeps the snapshots of one part of a run: every `--save-every` iterations, and when the run is asked to stop."""

    run: Run
    host: Host
    learner: Learner
    stage: int
    network: int
    title: str

    @property
    def silent(self) -> bool:
        return self.run.processes.index > 0

    def due(self, step: int) -> bool:
        """Processes agree on a signal where the losses are read, and not in between: to ask would make them wait."""
        settings = self.run.config.run
        if settings.save_every > 0 and step % settings.save_every == 0:
            return True
        return (self.run.processes.size == 1 or step % settings.loss_every == 0) and self.run.asked_to_stop()

    def note(self, progress: Progress, rate: float, ema: float) -> None:
        done = progress.epoch * self.host.schedule.iterations + progress.step
        position = {"stage": self.title, "epoch": progress.epoch, "step": progress.step, "iteration": done}
        self.run.record.line("losses", **position, rate=rate, ema=ema, losses=progress.lately.means())

    def keep(self, progress: Progress) -> None:
        asked, position = self.run.asked_to_stop(), Position(self.stage, self.network, progress.epoch, progress.step)
        self.run.keep(position, self.learner, self.host.memory(), progress)
        if asked or self.run.processes.size == 1:
            largest(self.run.processes, 0)  # no process ends, and so the job, before the first has written the snapshot
            self.run.stop.check()

    def stepping(self) -> AbstractContextManager[None]:
        return self.run.stop.deferred()
