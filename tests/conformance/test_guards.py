"""Every error guard of the backends: each says what was expected and what came, and changes nothing."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from duoreid.core.errors import UserError
from duoreid.core.settings.config import NetworkConfig
from tests.conformance.examples import BASELINE, MMT, example_batch, example_state
from tests.conftest import learner_of, probe_of


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


def with_value(state, name, value):
    changed = state[name].copy()
    changed.flat[0] = value
    return state | {name: changed}


WRONG = {
    "missing": (lambda s: without(s, "student1.bn1.weight"), r"missing: student1\.bn1\.weight \(32,\)"),
    "missing moment": (
        lambda s: without(s, "adam.first.student2.conv1.weight"),
        r"missing: adam\.first\.student2\.conv1\.weight",
    ),
    "missing counter": (lambda s: without(s, "classes"), r"missing: classes \(\)"),
    "unexpected": (lambda s: s | {"student3.bn1.weight": np.ones(3)}, r"unexpected: student3\.bn1\.weight \(3,\)"),
    "shape": (
        lambda s: s | {"teacher1.bn1.weight": np.ones(5, np.float32)},
        r"shape: teacher1\.bn1\.weight is \(5,\), expected \(32,\)",
    ),
    "one classifier wider": (
        lambda s: s | {"teacher2.classifier.weight": np.ones((11, 256), np.float32)},
        r"shape: teacher2\.classifier\.weight is \(11, 256\), expected \(10, 256\)",
    ),
    "not finite": (
        lambda s: with_value(s, "teacher2.layer1.0.conv1.weight", np.nan),
        r"not finite: teacher2\.layer1\.0\.conv1\.weight",
    ),
    "infinite": (lambda s: with_value(s, "adam.second.student1.bn1.bias", np.inf), r"not finite: adam\.second"),
    "more classes than rows": (
        lambda s: s | {"classes": np.int64(11)},
        r"classes: 11 live ones, expected 1 to 10, the rows of the classifiers",
    ),
    "no class": (lambda s: s | {"classes": np.int64(0)}, "classes: 0 live ones"),
    "of another method": (lambda s: example_state(BASELINE), r"missing: adam\.first\.student1\.[\s\S]*and \d+ more"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_state_is_refused_by_name_and_changes_nothing(backend, case):
    change, message = WRONG[case]
    learner = learner_of(backend, MMT)
    learner.import_state(example_state(MMT))
    with pytest.raises(UserError, match=message):
        learner.import_state(change(example_state(MMT, seed=9)))
    for name, value in learner.export_state().items():
        np.testing.assert_array_equal(value, example_state(MMT)[name], err_msg=name)


def test_embedding_nothing_is_refused(backend):
    with pytest.raises(ValueError, match=r"at least one chunk .* got none"):
        learner_of(backend, BASELINE).embed([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "mtm"}, r"unknown method 'mtm'\. Did you mean 'mmt'"),
        ({"network": NetworkConfig("resnet5")}, r"unknown architecture 'resnet5'\. Did you mean 'resnet50'"),
        ({"network": NetworkConfig("tiny", last_stride=3)}, "last_stride must be 1 or 2"),
    ],
)
def test_unknown_options_are_refused(backend, change, message):
    with pytest.raises(ValueError, match=message):
        probe_of(backend).make_learner(replace(BASELINE, **change))


def test_a_group_that_does_not_divide_the_batch_is_refused(backend):
    config = replace(BASELINE, network=NetworkConfig("tiny", batch_norm_group=3))
    learner = probe_of(backend).make_learner(config)
    with pytest.raises(ValueError, match="batch_norm_group 3 must divide the batch of 8"):
        learner.step(example_batch(views=1), 1e-3, 0.0)


ACCELERATOR = {"torch": "cuda", "mindspore": "ascend"}


def runtime_of(backend):
    module = importlib.import_module(f"duoreid.backends.{backend}.runtime")
    return module.RuntimeConfig, module.open_runtime


def test_a_device_that_is_not_there_is_refused(backend):
    runtime_config, open_runtime = runtime_of(backend)
    with pytest.raises(UserError, match=r"--device-id 99[\s\S]*--device cpu"):
        open_runtime(runtime_config(device=ACCELERATOR[backend], device_id=99))


def test_a_probe_computes_where_it_is_told_to(backend):
    """Also what takes no learner: else a report of a device would look at losses on the CPU."""
    probe = probe_of(backend)
    before = probe._device.config
    probe.compute_on(probe.RuntimeConfig(device=ACCELERATOR[backend], device_id=99))
    try:
        for work in (
            lambda: probe.loss("softmax_triplet", (np.eye(4),), np.array([0, 0, 1, 1])),
            lambda: probe.batch_hard(np.eye(4), np.array([0, 0, 1, 1])),
            lambda: probe.ema([np.ones(2)], [np.ones(2)], 0.5),
            lambda: probe.make_learner(MMT),
        ):
            with pytest.raises(UserError, match="--device-id 99"):
                work()
    finally:
        probe.compute_on(before)


def test_a_device_number_on_the_cpu_is_refused(backend):
    runtime_config, open_runtime = runtime_of(backend)
    with pytest.raises(UserError, match=r"--device-id 1 has no meaning on the CPU"):
        open_runtime(runtime_config(device="cpu", device_id=1))


def changed(batch, **parts):
    return batch._replace(**parts)


BATCHES = {
    "one view for mmt": (lambda b: changed(b, images=b.images[:1]), r"mmt takes 2 views .*two augmentations.*got 1"),
    "three views": (lambda b: changed(b, images=b.images[[0, 1, 1]]), "got 3"),
    "floats": (lambda b: changed(b, images=b.images / np.float32(255)), r"uint8 \(V, B, H, W, 3\).*got float32"),
    "channels first": (lambda b: changed(b, images=b.images.transpose(0, 1, 4, 2, 3)), r"uint8 \(V, B, H, W, 3\)"),
    "no views": (lambda b: changed(b, images=b.images[0]), r"uint8 \(V, B, H, W, 3\)"),
    "no rows": (lambda b: changed(b, images=b.images[:, :0], labels=b.labels[:0]), "not empty"),
    "fewer labels": (lambda b: changed(b, labels=b.labels[:-1]), "labels must be 8 integers"),
    "labels in columns": (lambda b: changed(b, labels=b.labels[:, None]), "labels must be 8 integers"),
    "labels as floats": (lambda b: changed(b, labels=b.labels.astype(np.float32)), "got float32"),
    "the first dead class": (lambda b: changed(b, labels=b.labels + 1), "from 0 to 5, below the 6 live .*got 1 to 6"),
    "beyond the classifier": (lambda b: changed(b, labels=b.labels + 90), "below the 6 live classes, got 90 to 95"),
    "an outlier": (lambda b: changed(b, labels=b.labels - 1), "got -1 to 4"),
    "whole noise": (lambda b: changed(b, noise=np.zeros((8, 2), np.int64)), "noise must be floating"),
}


@pytest.mark.parametrize("case", BATCHES)
def test_a_batch_that_does_not_fit_is_refused(backend, case):
    """Before anything is sent to the device: no loss is counted."""
    change, message = BATCHES[case]
    learner = learner_of(backend, MMT)
    learner.import_state(example_state(MMT))
    with pytest.raises(ValueError, match=message):
        learner.step(change(example_batch()), 1e-3, 0.5)
    assert learner.losses() == {}


def test_relabel_decides_which_labels_are_live(backend):
    learner = learner_of(backend, BASELINE)
    learner.import_state(example_state(BASELINE))
    learner.relabel(np.eye(4, 256, dtype=np.float32))
    with pytest.raises(ValueError, match="below the 4 live classes, got 0 to 5"):
        learner.step(example_batch(views=1), 1e-3, 0.0)
    learner.import_state(example_state(BASELINE))


@pytest.mark.parametrize(
    ("centroids", "message"),
    [
        (np.ones((4, 255), np.float32), r"floating \(K, 256\).*\(4, 255\)"),
        (np.ones((0, 256), np.float32), r"K of at least 1"),
        (np.ones(256, np.float32), r"\(256,\)"),
        (np.ones((4, 256), np.int64), "got int64"),
        (np.full((4, 256), np.nan, np.float32), "row 0 is not"),
    ],
)
def test_centroids_that_do_not_fit_are_refused(backend, centroids, message):
    learner = learner_of(backend, BASELINE)
    learner.import_state(example_state(BASELINE))
    with pytest.raises(ValueError, match=message):
        learner.relabel(centroids)
    assert int(learner.export_state()["classes"]) == BASELINE.classes


@pytest.mark.parametrize("images", [np.zeros((2, 3, 32, 16), np.uint8), np.zeros((2, 32, 16, 3), np.float32)])
def test_images_to_embed_that_do_not_fit_are_refused(backend, images):
    with pytest.raises(ValueError, match=r"chunk of images to embed must be uint8 \(b, H, W, 3\)"):
        learner_of(backend, BASELINE).embed([images])


LAUNCHED = {
    "torch": {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "none"},
    "mindspore": {"MS_ROLE": "MS_WORKER", "RANK_ID": "3", "MS_WORKER_NUM": "4", "DEVICE_ID": "1"},
}


def test_what_a_launcher_says(backend, monkeypatch):
    module = importlib.import_module(f"duoreid.backends.{backend}.runtime")
    assert (module.launched(), module.process_index()) == ((0, 1, 0), 0)
    for name, value in LAUNCHED[backend].items():
        monkeypatch.setenv(name, value)
    assert (module.launched(), module.process_index()) == ((3, 4, 1), 3)


def test_a_scheduler_is_not_the_first(monkeypatch):
    for name, value in (LAUNCHED["mindspore"] | {"MS_ROLE": "MS_SCHED", "RANK_ID": "0"}).items():
        monkeypatch.setenv(name, value)
    assert importlib.import_module("duoreid.backends.mindspore.runtime").process_index() == 4


@pytest.mark.parametrize(("options", "message"), [({}, r"has (no|\d+) "), ({"device_id": 2}, "leave it out")])
def test_a_job_on_devices_that_are_not_there_is_refused(backend, monkeypatch, options, message):
    for name, value in LAUNCHED[backend].items():
        monkeypatch.setenv(name, value)
    runtime_config, open_runtime = runtime_of(backend)
    with pytest.raises(UserError, match=message):
        open_runtime(runtime_config(device=ACCELERATOR[backend], **options))


def test_double_precision_between_mindspores_processes_is_refused(monkeypatch):
    """Its AllGather would round to float32 and say nothing."""
    for name, value in LAUNCHED["mindspore"].items():
        monkeypatch.setenv(name, value)
    runtime_config, open_runtime = runtime_of("mindspore")
    with pytest.raises(UserError, match="between them: use --precision float32"):
        open_runtime(runtime_config(device="cpu", precision="float64"))
