"""The training loop, written once for every method and backend."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from tqdm import tqdm

from duoreid.core.contract.learner import Learner
from duoreid.core.methods.base import Host, Labelling
from duoreid.core.training.divergence import check_losses
from duoreid.core.training.prefetch import prefetch


@dataclass
class Means:
    """Means of losses over iterations of an epoch, from the means of stretches: those after `start`, up to `done`."""

    done: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    start: int = 0

    def add(self, means: dict[str, float], step: int) -> None:
        """Take in the means up to iteration `step` of an epoch."""
        for name, value in means.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * (step - self.done)
        self.done = step

    def means(self) -> dict[str, float]:
        """Return the means so far."""
        return {name: value / (self.done - self.start) for name, value in self.sums.items()}


@dataclass
class Progress:
    """An epoch under way: with the learner's state, all that is needed to go on from the middle of it.

    epoch counts from 0; step: its iterations that are done; labelling: None until the method has labelled. losses: of
    the epoch; lately: since they were last noted; images: seen, each of all views.
    """

    epoch: int = 0
    step: int = 0
    labelling: Labelling | None = None
    losses: Means = field(default_factory=Means)
    label_seconds: float = 0.0
    train_seconds: float = 0.0
    lately: Means = field(default_factory=Means)
    images: int = 0

    def report(self) -> EpochReport:
        """Return what the epoch did."""
        facts = dict(self.labelling.facts) if self.labelling else {}
        return EpochReport(self.epoch, self.losses.means(), facts, self.label_seconds, self.train_seconds, self.images)


@dataclass
class EpochReport:
    """What an epoch did. epoch counts from 0; losses: means over the epoch; facts: of the labelling.

    seconds: of labelling (embedding and clustering), of training, in all of its iterations. images: seen by them.
    """

    epoch: int
    losses: dict[str, float] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    label_seconds: float = 0.0
    train_seconds: float = 0.0
    images: int = 0

    @property
    def seconds(self) -> float:
        """Of both."""
        return self.label_seconds + self.train_seconds


class Keeper:
    """What the loop asks of whoever keeps its snapshots; this one keeps none. silent: no bar is shown."""

    silent = False

    def due(self, step: int) -> bool:
        """Whether to keep the snapshot after `step` iterations of an epoch; its end is always kept."""
        return False

    def note(self, progress: Progress, rate: float, ema: float) -> None:
        """Note `progress.lately`, the losses of the last `loss_every` iterations, and the rates of the last one."""

    def keep(self, progress: Progress) -> None:
        """Keep this snapshot. The learner's losses have been read and are finite."""

    def stepping(self) -> AbstractContextManager[None]:
        """Enclose the iterations of an epoch: to be left between two of them, after a snapshot was kept."""
        return nullcontext()


def train(
    method: Host,
    learner: Learner,
    after: Callable[[EpochReport], None],
    *,
    loss_every: int = 50,
    title: str = "",
    start: Progress | None = None,
    keeper: Keeper | None = None,
) -> None:
    """Run the epochs of a method's schedule, from the beginning or from the middle.

    after: called at the end of each epoch, once its snapshot is kept, to test and log; called again for an epoch
    that a snapshot kept at its end starts from. Raises UserError when a loss is not finite; what was kept before is
    then the last good state.
    """
    progress = start or Progress()
    while progress.epoch < method.schedule.epochs:
        run_epoch(method, learner, progress, keeper or Keeper(), loss_every=loss_every, title=title)
        after(progress.report())
        progress = Progress(progress.epoch + 1)


def run_epoch(
    method: Host, learner: Learner, progress: Progress, keeper: Keeper, *, loss_every: int, title: str
) -> None:
    """Label unless that is done, then step through what is left of the epoch; threads assemble batches ahead."""
    clock, epoch, first = _Clock(), progress.epoch, progress.step
    if progress.labelling is None:
        progress.labelling = method.label(learner, epoch)
    labelling = progress.labelling
    plan = method.sample(labelling, epoch)
    progress.label_seconds += clock.lap()
    batches = prefetch(
        lambda index: method.batch(labelling, plan[first + index], epoch, first + index), max(0, len(plan) - first)
    )
    name = f"{title} epoch {epoch + 1}/{method.schedule.epochs}"
    bar = tqdm(
        batches, total=len(plan), initial=first, desc=name, unit="step", leave=False, disable=keeper.silent or None
    )
    with keeper.stepping(), bar:
        for batch in bar:
            rates = method.rates(epoch, progress.step)
            learner.step(batch, *rates)
            progress.step += 1
            progress.images += batch.images.shape[0] * batch.images.shape[1]
            last = progress.step == len(plan)
            kept = last or keeper.due(progress.step)
            if kept or progress.step % loss_every == 0:
                means = learner.losses()
                where = f"between iterations {progress.losses.done + 1} and {progress.step} of epoch {epoch + 1}"
                check_losses(means, where, learner)
                progress.losses.add(means, progress.step)
                progress.lately.add(means, progress.step)
                progress.train_seconds += clock.lap()
                if last or progress.step % loss_every == 0:
                    keeper.note(progress, *rates)
                    progress.lately = Means(progress.step, start=progress.step)
                bar.set_postfix(loss=f"{means.get('total', math.nan):.3f}")
            if kept:
                keeper.keep(progress)
                clock.lap()  # the keeper times itself


class _Clock:
    """Seconds since the last lap."""

    def __init__(self) -> None:
        self.began = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self.began = now - self.began, now
        return seconds
