"""Faults, really caused: none loses a finished epoch, each ends in one message, and the run goes on exactly."""

import errno
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from duoreid.backends.torch.learner import TorchLearner
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.training import snapshot as snapshot
from tests.runs import ROOT, SMALL, assert_same_run, finish, small_data, start, train

LONG = ["--iterations", "400", "--save-every", "0"]
MEGABYTE = 1 << 20


def new(folder, *argv):
    return ["--data", str(small_data()), *SMALL, "--threads", "1", "--output", str(folder), *argv]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder of a finished run; tests copy it."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert train("torch", *new(folder)) == 0
    return folder


@pytest.fixture
def unfinished(whole, tmp_path):
    """The same run as it was before its end: the last epoch is kept, not yet tested."""
    folder = tmp_path / "unfinished"
    shutil.copytree(whole, folder)
    (folder / "summary.json").unlink()
    return folder


def flip(path, place=-100):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


@pytest.mark.long
def test_a_full_disk(whole, tmp_path):
    """RLIMIT_FSIZE is too small for the moments of stage 2, not for those of stage 1."""
    limit = (30 * MEGABYTE, 30 * MEGABYTE)
    folder = tmp_path / "run"
    status, _, errors = finish(
        "backends.torch.train", *new(folder), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )
    assert status == 2
    assert "could not be written: File too large" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert not list(folder.glob(".last*")), "the half-written file is left"
    assert str(snapshot.load(folder / "last.safetensors").position) == "stage 1, network 2, epoch 1, iteration 3"
    assert train("torch", "--resume", str(folder)) == 0
    assert_same_run(folder, whole)


@pytest.mark.skipif(os.geteuid() != 0, reason="file modes bind ordinary users; changing to one needs root")
def test_a_read_only_folder_as_another_user(unfinished, tmp_path):
    """The folder of the run, and one in which a run cannot even begin."""
    for path in unfinished.iterdir():
        path.chmod(0o644)
    unfinished.chmod(0o555)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from filelock import FileLock, SoftFileLock, Timeout  # imported later, another user may not read them\n"
        "from duoreid.core.settings.transfer import MMTRecipe\n"
        "from duoreid.core.training.record import Record\n"
        "os.chdir(sys.argv[1]); os.setuid(65534)\n"
        "try: Record.reopen(Path(), MMTRecipe())\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, unfinished], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "Permission denied" in done.stdout
    assert "Make it writable" in done.stdout


def test_a_folder_that_cannot_be_written(capsys):
    """sysfs refuses every new file, whoever asks."""
    assert train("torch", *new(Path("/sys/kernel/run"))) == 2
    assert "/sys/kernel/run cannot hold a run" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["flipped", "cut", "other kind", "of another run", "gone"])
def test_a_damaged_moment_costs_time_only(unfinished, whole, capsys, damage):
    last = unfinished / "last.safetensors"
    if damage == "flipped":
        flip(last)
    elif damage == "cut":
        last.write_bytes(last.read_bytes()[: 20 * MEGABYTE])
    elif damage == "other kind":
        last.write_bytes(b"PK\3\4 a zip file")
    elif damage == "of another run":
        shutil.copy(unfinished / "stage1-1.safetensors", last)
    else:
        last.unlink()
    assert train("torch", "--resume", str(unfinished)) == 0
    printed = capsys.readouterr().out
    assert ("warning: " in printed) == (damage != "gone")
    assert "goes on from stage 2, epoch 2, iteration 2" in printed
    assert_same_run(unfinished, whole)


def test_both_moments_damaged(unfinished, capsys):
    for name in ("last", "previous"):
        flip(unfinished / f"{name}.safetensors")
    assert train("torch", "--resume", str(unfinished)) == 2
    errors = capsys.readouterr().err
    assert "previous.safetensors is damaged" in errors
    assert f"--start {unfinished}" in errors


def test_settings_that_do_not_fit(unfinished, capsys):
    """What the snapshot holds decides: changed settings, or networks of another shape."""
    path = unfinished / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"adapt": settings["adapt"] | {"rate": 0.5}}))
    assert train("torch", "--resume", str(unfinished)) == 2
    assert "adapt.rate" in capsys.readouterr().err
    path.write_text(json.dumps(settings))
    state, metadata = checkpoint.load(unfinished / "last.safetensors")
    name = "student1.layer1.0.conv1.weight"
    state["surplus.weight"], state[name] = state[name], state[name][:1]
    del state["teacher2.neck.weight"]
    checkpoint.save(unfinished / "last.safetensors", state, metadata)
    assert train("torch", "--resume", str(unfinished)) == 2
    errors = capsys.readouterr().err
    for needle in ("missing: teacher2.neck.weight", "unexpected: surplus.weight", f"shape: {name}"):
        assert needle in errors


@pytest.mark.parametrize(
    ("argv", "needles"),
    [
        (["--clusters", "7"], ["--clusters", "cannot be given beside"]),
        (["--preset", "synthetic"], ["--preset", "cannot be given beside"]),
        (["baseline"], ["a run of mmt, not of baseline"]),
        (["--epochs", "1"], ["--epochs 1 is too few", "epoch 2"]),
    ],
)
def test_options_beside_resume(unfinished, capsys, argv, needles):
    assert train("torch", *argv, "--resume", str(unfinished)) == 2
    errors = capsys.readouterr().err
    assert all(needle in errors for needle in needles), errors


def test_images_that_have_changed(unfinished, tmp_path, capsys):
    """Moved images are fine; images whose pixels or people differ are not the run's."""
    copy = tmp_path / "data"
    shutil.copytree(small_data(), copy)
    first = sorted((copy / "synthetic-b" / "bounding_box_train").glob("*.jpg"))[0]
    kept = first.read_bytes()
    Image.open(first).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(first)
    shutil.rmtree(copy / "cache")
    assert train("torch", "--resume", str(unfinished), "--data", str(copy)) == 2
    assert "are not those that the run in" in capsys.readouterr().err
    first.write_bytes(kept)
    shutil.rmtree(copy / "cache")
    assert train("torch", "--resume", str(unfinished), "--data", str(copy)) == 0


def test_nothing_to_resume(tmp_path, capsys):
    assert train("torch", "--resume", str(tmp_path / "nowhere")) == 2
    assert "config.json cannot be read" in capsys.readouterr().err


def test_extended_is_the_longer_run(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "extended")
    assert train("torch", "--resume", str(tmp_path / "extended"), "--epochs", "3") == 0
    assert train("torch", *new(tmp_path / "long", "--epochs", "3")) == 0
    assert_same_run(tmp_path / "extended", tmp_path / "long")


@pytest.mark.long
def test_two_runs_in_one_folder_and_every_signal(tmp_path):
    """A second process is told who holds the folder; each signal ends in the middle of an epoch, which is kept."""
    folder, argv = tmp_path / "run", new(tmp_path / "run", *LONG)
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)):
        process = start("backends.torch.train", *argv)
        wait_for(process, "source only, network 2" if number == signal.SIGTERM else "goes on from")
        time.sleep(1.5)
        argv = ["--resume", str(folder)]
        if number == signal.SIGTERM:
            blocked, _, errors = finish("backends.torch.train", *argv)
            assert blocked == 2
            assert f"is in use by process {process.pid} on" in errors
        process.send_signal(number)
        printed, errors = process.communicate(timeout=60)
        assert process.returncode == status, errors
        assert f"go on with --resume {folder}" in printed
        assert f"stopped by {number.name}" in errors
    moment = snapshot.load(folder / "last.safetensors")
    assert moment.position.stage == 2
    assert moment.position.step > 0
    assert moment.progress.losses.done == moment.position.step


def wait_for(process, words):
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"{words!r} was never printed: {process.stderr.read()}")


class Breaking(io.StringIO):
    """A standard output that breaks at its line with certain words, as a pipe into `head` does."""

    words = "epoch 1/2"

    def write(self, text):
        if self.words in text:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return super().write(text)


def test_output_that_breaks_costs_nothing(whole, tmp_path, capsys, monkeypatch):
    """`| head`: the epoch whose line cannot be written is kept, and the run goes on exactly."""
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Breaking())
        assert train("torch", *new(folder)) == 2
    errors = capsys.readouterr().err
    assert errors.splitlines()[-1] == (
        "error: standard output could not be written: Broken pipe. Every state saved so far is whole."
    )
    assert str(snapshot.load(folder / "last.safetensors").position) == "stage 2, epoch 1, iteration 3"
    assert train("torch", "--resume", str(folder)) == 0
    assert_same_run(folder, whole)


def test_a_full_disk_behind_the_output(tmp_path):
    """Nothing has been done when the first line fails: no run is left."""
    with open("/dev/full", "w") as full:
        status, _, errors = finish("backends.torch.train", *new(tmp_path / "run"), stdout=full)
    assert status == 2
    assert errors.splitlines() == [
        "error: standard output could not be written: No space left on device. Every state saved so far is whole."
    ]
    assert not (tmp_path / "run").exists()


def test_a_console_without_the_characters(whole, tmp_path, monkeypatch):
    """Most of a run's lines hold a middle dot, which ASCII does not have."""
    written = io.BytesIO()
    console = io.TextIOWrapper(written, encoding="ascii")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", console)
        assert train("torch", *new(tmp_path / "run")) == 0
    assert b"mmt \\xb7 torch" in written.getvalue()
    assert_same_run(tmp_path / "run", whole)


def contents(folder):
    return {path.relative_to(folder): path.is_dir() or path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize("what", ["moved", "removed", "the lock alone"])
def test_a_folder_that_goes_away(tmp_path, capsys, monkeypatch, what):
    """Noticed at the next write: one message, and nothing is made where the folder was."""
    folder, aside = tmp_path / "run", tmp_path / "aside"
    step, count = TorchLearner.step, 0

    def disturbed(self, *given):
        nonlocal count
        count += 1
        if count == 7:  # the first iteration of stage 2
            if what == "the lock alone":
                (folder / "lock").unlink()
            else:
                shutil.move(folder, aside)
        return step(self, *given)

    monkeypatch.setattr(TorchLearner, "step", disturbed)
    if what == "removed":
        monkeypatch.setattr(shutil, "move", lambda old, new: shutil.rmtree(old))
    assert train("torch", *new(folder)) == 2
    errors = capsys.readouterr().err
    told = "the lock of" if what == "the lock alone" else "was moved or removed while the run was going"
    assert told in errors
    assert len([line for line in errors.splitlines() if "error" in line]) == 1
    assert folder.exists() == (what == "the lock alone")
    if what == "moved":
        monkeypatch.undo()
        assert train("torch", "--resume", str(aside)) == 0


def test_a_resume_that_cannot_begin_leaves_the_folder_as_it_was(unfinished, tmp_path, capsys):
    """The images are gone, which is known only after the snapshot was read; the last snapshot is damaged, too."""
    flip(unfinished / "last.safetensors")
    (unfinished / "lock").unlink()
    (unfinished / "summary.json").write_text("{}")
    (unfinished / ".last.safetensors.left").write_text("by a kill")
    before = contents(unfinished)
    copy = tmp_path / "data"
    shutil.copytree(small_data() / "synthetic-a", copy / "synthetic-a")
    first = sorted((copy / "synthetic-a" / "bounding_box_train").glob("*.jpg"))[0]
    first.unlink()
    (copy / "synthetic-a" / "manifest.json").write_text("{}")
    assert train("torch", "--resume", str(unfinished), "--data", str(copy)) == 2
    assert "it may be somebody's data" in capsys.readouterr().err
    assert contents(unfinished) == before


def test_a_start_that_cannot_begin_leaves_the_folder_as_it_was(tmp_path, capsys):
    folder = tmp_path / "some" / "where" / "run"
    assert train("torch", *new(folder, "--weights", str(tmp_path / "slip.pth"))) == 2
    assert not list(tmp_path.iterdir())
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    before = contents(tmp_path)
    assert train("torch", *new(folder, "--weights", str(tmp_path / "slip.pth"))) == 2
    assert contents(tmp_path) == before


def test_divergence_keeps_the_last_good_state(tmp_path, capsys):
    """A rate that breaks stage 2 at its first iterations: no moment of it is written, stage 1's stands."""
    folder = tmp_path / "run"
    assert train("torch", *new(folder, "--rate", "1e30", "--loss-every", "1")) == 2
    errors = capsys.readouterr().err
    assert "diverged" in errors
    moment = snapshot.load(folder / "last.safetensors")
    assert str(moment.position) == "stage 1, network 2, epoch 1, iteration 3"


@pytest.mark.long
@pytest.mark.parametrize(("backend", "gigabytes"), [("torch", 3), ("mindspore", 7)])
def test_memory_that_runs_out(tmp_path, backend, gigabytes):
    """An address space too small for the batch that is asked for; MindSpore's libraries alone take more of it."""
    batch = ["--pretrain-identities", "8", "--pretrain-images", "8", "--no-cache"]
    status, _, errors = finish(
        f"backends.{backend}.train",
        *new(tmp_path / "run", "--height", "1024", "--width", "512", *batch),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (gigabytes << 30, gigabytes << 30)),
    )
    assert status == 2, errors
    assert "memory has run out. Lower " in errors.splitlines()[-1]
    assert "Traceback" not in errors
