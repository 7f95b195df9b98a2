"""The training loop, written once for every method and backend."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm import tqdm

from core.batches import prefetch
from core.errors import UserError
from core.learner import Learner
from core.methods.base import Method


@dataclass
class EpochReport:
    """What an epoch did. epoch counts from 0; losses: means over the epoch; facts: of the labelling.

    seconds: of labelling (embedding and clustering), of training, in all of its iterations.
    """

    epoch: int
    losses: dict[str, float] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    label_seconds: float = 0.0
    train_seconds: float = 0.0


def train(
    method: Method,
    learner: Learner,
    after: Callable[[EpochReport], None],
    *,
    loss_every: int = 50,
    title: str = "",
    start: int = 0,
) -> None:
    """Run the epochs of a method's schedule. after: called at the end of each one, to test, log and save.

    Raises UserError when a loss is not finite; what `after` has saved before is then the last good state.
    """
    for epoch in range(start, method.schedule.epochs):
        after(run_epoch(method, learner, epoch, loss_every=loss_every, title=title))


def run_epoch(method: Method, learner: Learner, epoch: int, *, loss_every: int, title: str) -> EpochReport:
    """Label, then step through the epoch's batches, which threads assemble ahead of the device."""
    began = time.perf_counter()
    labelling = method.label(learner, epoch)
    plan = method.sample(labelling, epoch)
    labelled = time.perf_counter()
    losses = _Means(epoch)
    batches = prefetch(lambda step: method.batch(labelling, plan[step], epoch, step), len(plan))
    name = f"{title} epoch {epoch + 1}/{method.schedule.epochs}"
    with tqdm(batches, total=len(plan), desc=name, unit="step", leave=False, disable=None) as bar:
        for step, batch in enumerate(bar):
            learner.step(batch, *method.rates(epoch, step))
            if (step + 1) % loss_every == 0 or step + 1 == len(plan):
                losses.add(learner.losses(), step)
                bar.set_postfix(loss=f"{losses.latest:.3f}")
    done = time.perf_counter()
    return EpochReport(epoch, losses.means(), dict(labelling.facts), labelled - began, done - labelled)


class _Means:
    """Means of an epoch's losses from the means of its stretches; a stretch that is not finite is an error."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.done, self.sums = epoch, 0, {}
        self.latest = math.nan

    def add(self, means: dict[str, float], step: int) -> None:
        bad = [f"{name} = {value}" for name, value in means.items() if not math.isfinite(value)]
        if bad:
            raise UserError(
                f"{', '.join(bad)} between iterations {self.done + 1} and {step + 1} of epoch {self.epoch + 1}: "
                "training has diverged and stops here. The states saved before are good. Lower the learning rate, or "
                "look for what is unusual in the data."
            )
        for name, value in means.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * (step + 1 - self.done)
        self.done, self.latest = step + 1, means.get("total", math.nan)

    def means(self) -> dict[str, float]:
        return {name: value / self.done for name, value in self.sums.items()}
