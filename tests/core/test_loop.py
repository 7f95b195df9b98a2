"""The loop with a learner that only counts."""

import copy

import numpy as np
import pytest

from duoreid.core.contract.learner import Batch
from duoreid.core.errors import UserError
from duoreid.core.methods.base import Labelling
from duoreid.core.settings.config import ScheduleConfig
from duoreid.core.training.loop import Keeper, Progress, train


class Method:
    name = "test"
    schedule = ScheduleConfig(epochs=3, iterations=7, identities=2, images=1)

    def __init__(self, forbidden=None):
        self.forbidden = forbidden

    def label(self, learner, epoch):
        assert epoch != self.forbidden, "labelled again"
        return Labelling(np.arange(4, dtype=np.int32), 4, {"clusters": 4.0})

    def sample(self, labelling, epoch):
        return np.full((7, 2), epoch)

    def batch(self, labelling, rows, epoch, step):
        return Batch(np.full((1, 2, 1, 1, 3), step, np.uint8), labelling.labels[rows])

    def rates(self, epoch, step):
        return epoch + step / 10, 0.5


class Learner:
    """Its loss is the number of steps done; it becomes NaN at a chosen one."""

    def __init__(self, broken=None):
        self.seen, self.values, self.broken, self.offset = [], [], broken, 0

    def step(self, batch, rate, ema):
        self.seen.append((int(batch.images[0, 0, 0, 0, 0]), int(batch.labels[0]), rate, ema))
        self.values.append(float("nan") if len(self.seen) == self.broken else float(self.offset + len(self.seen)))

    def losses(self):
        mean = float(np.mean(self.values))
        self.values = []
        return {"total": mean}

    def export_state(self):
        return {"layer1.weight": np.array([np.nan]), "bn2.running_var": np.array([np.inf]), "steps": np.int64(3)}


def test_every_batch_in_order_with_its_rates_and_the_means_of_the_losses():
    learner, reports = Learner(), []
    train(Method(), learner, reports.append, loss_every=3)
    assert [(seen[0], seen[1]) for seen in learner.seen] == [(step, epoch) for epoch in range(3) for step in range(7)]
    assert [seen[2] for seen in learner.seen] == [epoch + step / 10 for epoch in range(3) for step in range(7)]
    assert [report.losses["total"] for report in reports] == pytest.approx([4, 11, 18])
    assert reports[0].facts == {"clusters": 4.0}


def test_training_can_start_in_the_middle():
    learner, reports = Learner(), []
    train(Method(), learner, reports.append, start=Progress(2))
    assert [report.epoch for report in reports] == [2]
    assert {seen[1] for seen in learner.seen} == {2}


class Copies(Keeper):
    """Keeps a copy of every snapshot, each `every` iterations."""

    def __init__(self, every):
        self.every, self.kept = every, []

    def due(self, step):
        return step % self.every == 0

    def keep(self, progress):
        self.kept.append(copy.deepcopy(progress))


def test_moments_are_kept_within_epochs_and_at_their_ends():
    keeper = Copies(3)
    train(Method(), Learner(), lambda report: None, loss_every=50, keeper=keeper)
    assert [(kept.epoch, kept.step) for kept in keeper.kept] == [(e, s) for e in range(3) for s in (3, 6, 7)]
    assert all(kept.losses.done == kept.step for kept in keeper.kept)


@pytest.mark.parametrize("index", range(9))
def test_from_any_moment_the_rest_is_the_same(index):
    """The same batches and rates, the same means of the whole epoch; a labelling that is kept is not made again."""
    keeper, whole, reports = Copies(3), Learner(), []
    train(Method(), whole, reports.append, keeper=keeper)
    snapshot = keeper.kept[index]
    done = 7 * snapshot.epoch + snapshot.step
    rest, again = Learner(), []
    rest.offset = done
    train(Method(forbidden=snapshot.epoch), rest, again.append, keeper=Copies(3), start=snapshot)
    assert rest.seen == whole.seen[done:]
    assert [report.epoch for report in again] == list(range(snapshot.epoch, 3))
    for one, two in zip(again, reports[snapshot.epoch :], strict=True):
        assert one.losses["total"] == pytest.approx(two.losses["total"], rel=1e-12)
        assert one.facts == two.facts


def test_a_loss_that_is_not_finite_stops_and_says_where():
    reports = []
    words = r"total = nan between iterations 4 and 6 of epoch 2: .* first of 2 arrays .* is bn2.running_var, so "
    with pytest.raises(UserError, match=words):
        train(Method(), Learner(broken=7 + 5), reports.append, loss_every=3)
    assert [report.epoch for report in reports] == [0]


class Notes(Copies):
    """Notes what the loop hands over, and keeps snapshots."""

    def __init__(self, every, noted=()):
        super().__init__(every)
        self.noted = list(noted)

    def note(self, progress, rate, ema):
        self.noted.append((progress.epoch, progress.step, progress.lately.means()["total"], rate, ema, progress.images))

    def keep(self, progress):
        super().keep(progress)
        self.kept[-1] = (self.kept[-1], list(self.noted))


def test_losses_are_noted_every_so_many_iterations_and_at_the_end():
    """Saves in between, which read the losses as well, neither add a note nor change one."""
    expected = [
        (0, 3, pytest.approx(2), pytest.approx(0.2), 0.5, 6),
        (0, 6, pytest.approx(5), pytest.approx(0.5), 0.5, 12),
        (0, 7, pytest.approx(7), pytest.approx(0.6), 0.5, 14),
        (1, 3, pytest.approx(9), pytest.approx(1.2), 0.5, 6),
    ]
    for every in (2, 50):
        keeper = Notes(every)
        train(Method(), Learner(), lambda report: None, loss_every=3, keeper=keeper)
        assert keeper.noted[:4] == expected
        assert len(keeper.noted) == 9


@pytest.mark.parametrize("index", range(9))
def test_from_any_moment_no_note_is_missing_and_none_made_twice(index):
    keeper = Notes(2)
    train(Method(), Learner(), lambda report: None, loss_every=3, keeper=keeper)
    snapshot, noted = copy.deepcopy(keeper.kept[index])
    rest = Learner()
    rest.offset = 7 * snapshot.epoch + snapshot.step
    again = Notes(2, noted)
    train(Method(), rest, lambda report: None, loss_every=3, keeper=again, start=snapshot)
    assert [note[:2] for note in again.noted] == [note[:2] for note in keeper.noted]
    assert [note[2] for note in again.noted] == pytest.approx([note[2] for note in keeper.noted])
