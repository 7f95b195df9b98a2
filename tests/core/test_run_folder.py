"""Which file a run's folder stands for, for every reader of weights."""

import numpy as np
import pytest

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints import formats, weights
from duoreid.core.checkpoints.run_folder import file_of
from duoreid.core.checkpoints.trained import open_trained
from duoreid.core.contract.state import initial
from duoreid.core.errors import UserError
from duoreid.core.methods.registry import spec_of
from duoreid.core.settings.config import NetworkConfig, as_dict
from duoreid.core.settings.transfer import MMTRecipe


def run_folder(path, *names):
    """Make a run's folder with empty states of these names."""
    path.mkdir()
    (path / "config.json").write_text("{}")
    for name in names:
        (path / f"{name}.safetensors").touch()
    return path


def test_a_file_stands_for_itself_whether_it_is_there_or_not(tmp_path):
    assert file_of(tmp_path / "absent.pth") == tmp_path / "absent.pth"


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("stage1-1", "stage1-2", "last", "previous", "best"), "last"),
        (("mvd", "mvd-best", "previous"), "mvd"),
        (("trial-3",), "trial-3"),
    ],
)
def test_the_last_state_else_the_finished_network(tmp_path, names, taken):
    folder = run_folder(tmp_path / "run", *names)
    assert file_of(folder) == folder / f"{taken}.safetensors"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "has saved no networks yet"),
        (("previous", "best"), "has saved no networks yet"),
        (("stage1-1", "stage1-2"), r"choose one of .*stage1-1\.safetensors, .*stage1-2\.safetensors\.$"),
    ],
)
def test_a_run_without_a_last_state(tmp_path, names, message):
    with pytest.raises(UserError, match=message):
        file_of(run_folder(tmp_path / "run", *names))


def test_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "last.safetensors").touch()
    with pytest.raises(UserError, match=r"is a folder but no run's \(it holds no config\.json\)"):
        file_of(tmp_path)


def test_every_reader_takes_a_folder_and_says_which_file(tmp_path):
    folder = run_folder(tmp_path / "run")
    config, settings = MMTRecipe(), spec_of("mmt").learner_config(NetworkConfig("tiny"), 6, 6, 64, 32)
    state = initial(settings, 3)
    checkpoint.save(folder / "last.safetensors", state, {"config": as_dict(config), "stage": 2})
    assert formats.read(folder).path == folder / "last.safetensors"
    trained = open_trained(folder)
    assert trained.path == folder / "last.safetensors"
    assert trained.report == f"{folder}: its last state, last.safetensors"
    assert open_trained(trained.path).report == ""
    assert list(trained.models) == ["teacher1", "teacher2"]
    tensors, report = weights.load(f"{folder}#student2", settings)
    assert str(folder / "last.safetensors") in str(report)
    np.testing.assert_array_equal(tensors["conv1.weight"], state["student2.conv1.weight"])
    with pytest.raises(UserError, match=r"last\.safetensors"):
        open_trained(folder, role="teacher3")
