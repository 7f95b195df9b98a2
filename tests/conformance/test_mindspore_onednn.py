"""How many threads oneDNN's kernels are made for; see backends/mindspore/onednn.py."""

import subprocess
import sys
import threading

import pytest

from duoreid.backends.mindspore import onednn

PROGRAM = """
import numpy as np
import mindspore as ms
from mindspore import Tensor
from duoreid.backends.mindspore.layers import Conv2d
from duoreid.backends.mindspore.optimiser import compiled
from duoreid.backends.mindspore.runtime import RuntimeConfig, open_runtime


def held():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1000 for line in file if line.startswith("VmData"))


runtime = open_runtime(RuntimeConfig(device="cpu", threads=THREADS))
layer = Conv2d(1024, 1024, 3, 1, runtime.dtype)


def total(x):
    return layer(x).sum()


derivative = ms.grad(total, None, ms.ParameterTuple([layer.weight]))


def by_the_weights(x):
    return derivative(x)[0]


images = np.zeros((8, 1024, 2, 2), np.float32)
images[:, :, 1, 1] = 1
before = held()
seen = compiled(by_the_weights, True)(Tensor(images)).asnumpy()
assert seen[0, 0, 1, 1] == 8, seen[0, 0]
print(held() - before)
"""
COPY = 4 * 1024 * 1024 * 9 / 1e6
"""Megabytes of the weights."""


def held_by_a_gradient(folder, threads):
    """Megabytes that the gradient of a convolution by its weights keeps after it has run once."""
    file = folder / f"program{threads}.py"  # compiled functions need a file
    file.write_text(PROGRAM.replace("THREADS", str(threads)))
    done = subprocess.run([sys.executable, file], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_convolution_s_gradient_keeps_a_copy_of_its_weights_for_each_thread_asked_for(tmp_path):
    """Left alone, for each core of the machine."""
    one, four = (held_by_a_gradient(tmp_path, threads) for threads in (1, 4))
    assert four - one > 3.5 * COPY, (one, four)


@pytest.fixture
def calls(monkeypatch):
    """What oneDNN is told, by thread; it takes everything but 4."""
    told = []
    monkeypatch.setattr(onednn, "_here", threading.local())
    monkeypatch.setattr(onednn, "_wanted", [])
    monkeypatch.setattr(
        onednn, "_interface", lambda: lambda count: told.append((threading.get_ident(), count)) or count == 4
    )
    return told


def test_every_thread_tells_once_and_again_when_the_number_changes(calls):
    assert not onednn.obey(), "nothing was asked for"
    onednn.limit(1)
    assert onednn.obey()
    assert onednn.obey()
    other = threading.Thread(target=onednn.obey)
    other.start()
    other.join()
    onednn.limit(2)
    assert onednn.obey()
    assert [count for _, count in calls] == [1, 1, 2]
    assert calls[0][0] == calls[2][0] != calls[1][0]


def test_a_library_without_the_interface_or_one_that_refuses_is_left_alone(calls, monkeypatch):
    onednn.limit(4)
    assert not onednn.obey()
    assert not onednn.obey(), "a refusal is no promise: it is tried again"
    assert len(calls) == 2
    monkeypatch.setattr(onednn, "_interface", lambda: None)
    onednn.limit(1)
    assert not onednn.obey()


def test_no_thread_at_all_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        onednn.limit(0)
