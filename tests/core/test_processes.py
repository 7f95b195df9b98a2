"""Several processes as threads of one process: what they tell each other, and when they stop."""

import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from duoreid.core.contract.processes import (
    FailedElsewhereError,
    Together,
    check_same,
    first,
    in_turn,
    largest,
    share_of,
    together,
)
from duoreid.core.data import Chunks
from duoreid.core.errors import UserError
from duoreid.core.numeric.sharing import ALONE
from duoreid.core.settings.cross_modal import MVDConfig
from duoreid.core.settings.presets import presets
from duoreid.core.settings.transfer import MMTRecipe
from duoreid.core.training.loop import train
from duoreid.core.training.run import Run, _Keeper
from duoreid.core.training.sharing import check_batches, check_same_processes, how_cut
from duoreid.core.training.snapshot import History
from duoreid.core.training.stop import Stop, Stopped
from tests.core.test_loop import Learner, Method

SYNTHETIC = presets()["synthetic"]


class Thread:
    """A process that is a thread; every two processes are on a machine of their own."""

    def __init__(self, index, size, shared):
        self.index, self.size, self.local, self.shared = index, size, index % 2, shared

    def gather(self, array):
        assert array.dtype in (np.int32, np.float32, np.float64), "a backend may be unable to send this"
        self.shared["parts"][self.index] = array.copy()
        self.shared["barrier"].wait(timeout=20)
        stacked = np.stack(self.shared["parts"])
        self.shared["barrier"].wait(timeout=20)
        return stacked


def on_processes(size, action):
    """Run action(processes) on every process at once; return what each returned, or the error that it raised."""
    shared = {"parts": [None] * size, "barrier": threading.Barrier(size)}

    def run(index):
        try:
            return action(Thread(index, size, shared))
        except (UserError, Stopped) as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_the_first_finds_is_what_all_find(size):
    made = []

    def make():
        made.append(threading.current_thread())
        return {"labels": np.array([[3, -1]], np.int32), "rows": np.ones((2, 0)), "eps": 0.1 + 0.2, "facts": {"n": 2}}

    replies = on_processes(size, lambda processes: first(processes, make))
    assert len(made) == 1
    for values in replies:
        assert values.keys() == {"labels", "rows", "eps", "facts"}
        np.testing.assert_array_equal(values["labels"], [[3, -1]])
        assert values["labels"].dtype == np.int32
        assert values["rows"].shape == (2, 0)
        assert (values["eps"], values["facts"]) == (0.1 + 0.2, {"n": 2})


def test_what_fails_on_the_first_ends_all_and_is_told_by_one():
    def make():
        raise UserError("too few clusters")

    errors = on_processes(3, lambda processes: first(processes, make))
    assert [type(error) for error in errors] == [UserError, FailedElsewhereError, FailedElsewhereError]
    assert {str(error) for error in errors} == {"too few clusters"}


def test_one_of_each_machine_goes_ahead():
    order = []
    indices = on_processes(
        4, lambda processes: in_turn(processes, lambda: order.append(processes.index) or processes.index)
    )
    assert indices == [0, 1, 2, 3]
    assert (set(order[:2]), set(order[2:])) == ({0, 2}, {1, 3})


def test_where_one_cannot_open_the_others_end():
    def make(processes):
        if processes.index == 2:
            raise UserError("no such folder")
        return processes.index

    errors = on_processes(4, lambda processes: in_turn(processes, lambda: make(processes)))
    assert [str(error) for error in errors if type(error) is UserError] == ["no such folder"]
    assert sum(isinstance(error, FailedElsewhereError) for error in errors) == 3


def test_ranks_that_differ_are_found():
    same = on_processes(3, lambda processes: check_same(processes, "seed 1", "their options"))
    assert same == [None, None, None]
    differing = on_processes(
        3, lambda processes: check_same(processes, f"seed {processes.index // 2}", "their options")
    )
    assert all("differ in their options" in str(error) for error in differing)


def test_the_largest_number():
    assert on_processes(3, lambda processes: largest(processes, (4, 15, 0)[processes.index])) == [15, 15, 15]
    assert largest(ALONE, 7) == 7


class Embedder:
    """Two networks whose features are the images' first bytes and their doubles; counts what it sees."""

    def __init__(self):
        self.seen = Counter()

    def embed(self, images):
        (chunk,) = images
        self.seen.update(chunk[:, 0, 0, 0].tolist())
        rows = chunk[:, 0, 0, :2].astype(np.float32)
        return np.stack([rows, 2 * rows])

    def relabel(self, centroids):
        return len(centroids)


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("count", [1, 4, 13, 16])
def test_embedding_in_parts_is_the_embedding(size, count):
    images = np.arange(count * 3, dtype=np.uint8).reshape(count, 1, 1, 3)
    learners = [Embedder() for _ in range(size)]

    def embed(processes):
        return Together(learners[processes.index], processes).embed(Chunks(images, 4))

    expected = np.stack([images[:, 0, 0, :2], 2 * images[:, 0, 0, :2]]).astype(np.float32)
    for features in on_processes(size, embed):
        np.testing.assert_array_equal(features, expected)
    chunks = -(-count // 4)
    assert all(sum(learner.seen.values()) <= 4 * -(-chunks // size) for learner in learners), "work is done twice"


def test_other_verbs_are_the_learners_own():
    make = together(lambda config, runtime, seed: Embedder(), Thread(0, 2, {}))
    assert make(None, None, 0).relabel(np.zeros((5, 2))) == 5
    with pytest.raises(ValueError, match="at least one chunk"):
        make(None, None, 0).embed([])


def test_one_process_has_the_plain_learner():
    assert isinstance(together(lambda *given: Embedder(), ALONE)(None, None, 0), Embedder)


def test_chunks():
    chunks = Chunks(np.arange(10), 4)
    assert [chunk.tolist() for chunk in chunks] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(chunks) == 3
    assert len(Chunks(np.arange(8), 4)) == 2


def changed(config, group=0, **schedule):
    network = replace(config.network, batch_norm_group=group)
    return replace(config, network=network, adapt=replace(config.adapt, **schedule))


@pytest.mark.parametrize(
    ("config", "size", "message"),
    [
        (changed(SYNTHETIC, identities=5, images=3), 2, r"--identities 5 x --images 3 = 15[\s\S]*2 equal parts"),
        (changed(SYNTHETIC), 7, r"--pretrain-identities \d+ x --pretrain-images \d+"),
        (changed(SYNTHETIC, 16), 8, r"--batch-norm-group 16 must divide the \d images[\s\S]*fewer processes"),
        (changed(SYNTHETIC, 64), 2, "--batch-norm-group 64 must divide"),
        (replace(presets()["synthetic-vi"], mvd=MVDConfig(identities=3, images=3)), 2, "= 9 images"),
    ],
)
def test_a_batch_that_cannot_be_cut(config, size, message):
    with pytest.raises(UserError, match=message):
        check_batches(Thread(0, size, {}), config)
    check_batches(ALONE, config)


def test_groups_that_a_batch_of_the_last_stage_does_not_have_are_told_before_the_first():
    config = changed(SYNTHETIC, 16)
    late = replace(config, adapt=replace(config.adapt, identities=3))
    with pytest.raises(UserError, match=r"does not divide the 12 images[\s\S]*--identities 3 x --images 4"):
        check_batches(ALONE, replace(late, network=replace(late.network, batch_norm_group=8)))
    pairs = presets()["synthetic-vi"]
    pairs = replace(pairs, mvd=replace(pairs.mvd, identities=3, images=1))
    with pytest.raises(UserError, match=r"the 6 images[\s\S]*x 2 modalities"):
        check_batches(ALONE, replace(pairs, network=replace(pairs.network, batch_norm_group=4)))


def test_a_share():
    assert share_of(8, Thread(0, 4, {})) == 2
    with pytest.raises(ValueError, match="8 rows cannot be cut into 3 equal parts"):
        share_of(8, Thread(0, 3, {}))


def test_a_batch_that_can_be_cut():
    check_batches(Thread(0, 4, {}), changed(SYNTHETIC, 4))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (changed(SYNTHETIC, 4), "the run is that of one process$"),
        (changed(SYNTHETIC), "one process with --batch-norm-group"),
        (presets()["synthetic-vi"], "both modalities"),
    ],
)
def test_what_a_batch_becomes_is_said(config, words):
    assert re.search(words, how_cut(Thread(0, 2, {}), config))


def test_going_on_with_another_number_of_processes():
    by_process, by_group, past = MMTRecipe(), changed(MMTRecipe(), 16), [{"processes": 2}, {"processes": 4}]
    check_same_processes(Thread(0, 4, {}), by_process, past)
    check_same_processes(Thread(0, 2, {}), by_group, past)
    with pytest.raises(UserError, match=r"4 process\(es\)[\s\S]*this job has 2"):
        check_same_processes(Thread(0, 2, {}), by_process, past)
    with pytest.raises(UserError, match="this job has 2"):
        check_same_processes(Thread(0, 2, {}), by_process, [{"backend": "torch"}])


class Kept:
    """A run's record that only remembers what it was given."""

    def __init__(self):
        self.snapshots, self.lines, self.history = [], [], History()

    def clock(self):
        return 0.0

    def settings(self):
        return {}

    def line(self, event, **values):
        self.lines.append((event, values["epoch"], values["step"]))

    def keep(self, snapshot):
        self.snapshots.append(str(snapshot.position))


@pytest.mark.parametrize(("asked", "stops"), [(1, 4), (4, 4), (5, 7)])
@pytest.mark.parametrize("who", [0, 1])
def test_a_signal_to_one_rank_stops_all_at_the_same_iteration(asked, stops, who):
    """At the first iteration behind the signal at which losses are read: each 4 iterations, and at an epoch's end."""
    config = replace(SYNTHETIC, run=replace(SYNTHETIC.run, loss_every=4, save_every=0))

    def action(processes):
        stop, record, learner = Stop(), Kept(), Learner()
        step = learner.step

        def stepping(*given):
            step(*given)
            if processes.index == who and len(learner.seen) == asked:
                stop.asked = 15

        learner.step, learner.export_state = stepping, lambda: {"weight": np.zeros(2)}
        run = Run(config, None, SimpleNamespace(processes=processes), record, stop=stop, processes=processes)
        method = Method()
        method.memory = dict
        with pytest.raises(Stopped) as stopped:
            train(
                method,
                learner,
                lambda report: None,
                loss_every=4,
                keeper=_Keeper(run, method, learner, 2, 0, "stage 2"),
            )
        return stopped.value.status, len(learner.seen), record.snapshots

    expected = (143, stops, [f"stage 2, epoch 1, iteration {stops}"])
    assert on_processes(2, action) == [expected, expected]


def test_ranks_whose_networks_differ_stop_before_they_are_saved():
    def action(processes):
        learner, record = Learner(), Kept()
        learner.export_state = lambda: {"weight": np.full(2, processes.index)}
        run = Run(SYNTHETIC, None, SimpleNamespace(processes=processes), record, processes=processes)
        method = Method()
        method.memory = dict
        try:
            train(method, learner, lambda report: None, keeper=_Keeper(run, method, learner, 2, 0, "stage 2"))
        finally:
            assert record.snapshots == []

    assert all("differ in their networks at stage 2" in str(error) for error in on_processes(2, action))
