"""A new method needs its own files alone: one that the tests define trains, resumes and changes its backend."""

import json

import numpy as np
import pytest

from duoreid.core.checkpoints import files
from duoreid.core.contract.state import initial
from duoreid.core.errors import UserError
from duoreid.core.settings.config import NetworkConfig
from tests.conformance import examples
from tests.conftest import BACKENDS, learner_of, probe_of
from tests.methods.contrast import BANK, SPEC, filled, oracle, registered
from tests.runs import SMALL, options_of, small_data, train

WORDS = ["--data", str(small_data()), "--threads", "1", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _method(shallow, elsewhere):
    with registered(*BACKENDS):
        yield


def config_of():
    size = (examples.CAPACITY, examples.CLASSES, examples.HEIGHT, examples.WIDTH)
    return SPEC.learner_config(NetworkConfig("shallow"), *size)


def batch_of():
    return examples.example_batch(views=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_its_loss_is_the_oracle_s_and_its_memory_moves(backend):
    config = config_of()
    learner, batch = learner_of(backend, config), batch_of()
    state = initial(config, 0)
    learner.import_state(state)
    learner.step(batch, 1e-3, 0.0)
    losses, after = learner.losses(), learner.export_state()
    layers = probe_of(backend)
    learner.import_state(state)
    features = layers.layers(learner, "student", batch.images[0], train=True)["features"]
    expected = oracle(config, {"student": (np.asarray(features, np.float64), None)}, batch, config.classes)
    assert losses["total"] == pytest.approx(expected["total"], rel=1e-5)
    used = np.unique(batch.labels)
    for label in used:
        mean = features[batch.labels == label].mean(0)
        np.testing.assert_allclose(after[BANK][label], 0.9 + 0.1 * mean, rtol=1e-4, atol=1e-5)
    others = np.setdiff1d(np.arange(config.capacity), used)
    np.testing.assert_array_equal(after[BANK][others], state[BANK][others])


def test_both_backends_take_the_same_step():
    config, batch, ends = config_of(), batch_of(), []
    state = filled(initial(config, 0), 1)
    for backend in BACKENDS:
        learner = learner_of(backend, config)
        learner.import_state(state)
        learner.step(batch, 1e-4, 0.0)
        ends.append((learner.losses()["total"], learner.export_state()[BANK]))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-5)
    np.testing.assert_allclose(ends[0][1], ends[1][1], rtol=1e-4, atol=1e-5)


def test_it_trains_is_saved_resumes_and_crosses_to_the_other_backend(tmp_path, capsys):
    folder, small = tmp_path / "run", options_of("contrast", SMALL)
    assert train("torch", "contrast", *WORDS, *small, "--output", str(folder), "--epochs", "1") == 0
    state, metadata = files.load(folder / "last.safetensors")
    assert metadata["config"]["method"] == "contrast"
    assert state[BANK].shape[0] == len(state["student.classifier.weight"])
    assert np.ptp(state[BANK]) > 0, "the memory has not moved"
    where = ["--resume", str(folder), "--data", str(small_data()), "--threads", "1"]
    assert train("torch", *where, "--epochs", "2") == 0
    assert train("mindspore", "--resume", str(folder), "--data", str(small_data()), "--epochs", "3") == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert [part["backend"] for part in summary["backends"]] == ["torch", "torch", "mindspore"]
    assert [row["name"] for row in summary["rows"]] == [f"epoch {n}, student" for n in (1, 2, 3)]
    assert "after contrast" in capsys.readouterr().out


def test_options_that_mean_nothing_to_it_are_refused(tmp_path, capsys):
    for words, owner in ((["--source", "x"], "source"), (["--soft-ce", "1"], "mmt"), (["--trials", "1"], "mvd")):
        assert train("torch", "contrast", *words) == 2
        message = capsys.readouterr().err
        assert "means nothing to contrast" in message
        assert owner in message


def test_it_is_gone_behind_the_block():
    from duoreid.core.methods.registry import METHODS, spec_of

    kept = METHODS.pop("contrast")
    try:
        with pytest.raises(UserError, match="unknown method 'contrast'"):
            spec_of("contrast")
    finally:
        METHODS["contrast"] = kept
