"""`python -m benchmarks.weights`: what differs fails it; what is refused or not installed is told."""

import json

import numpy as np
import pytest

from benchmarks import weights
from benchmarks.peers.networks import Peer
from tests.conformance.examples import example_network

torch = pytest.importorskip("torch")


def peer(change=0.0, more=(), missing=False):
    """A library whose network is ours, with a feature that is changed and with tensors that no network here has."""

    def run(arch, images, file):
        if missing:
            raise ImportError("No module named 'elsewhere'")
        state = example_network(arch, 5)
        kept = {
            name: torch.from_numpy(value) for name, value in state.items() if name.startswith(("conv1", "bn1", "layer"))
        }
        torch.save({"state_dict": kept | {name: torch.zeros(1) for name in more}}, file)
        if more:
            return np.ones((len(images), 1), np.float32)
        pixels = weights.rng(0, "benchmark/images").integers(0, 256, (4, 128, 64, 3), dtype=np.uint8)
        features = weights.ours("torch", arch, pixels, file, None)
        features[0, 0] += change
        return features

    return Peer("elsewhere", run, ("tiny",), ".pth")


@pytest.mark.parametrize(
    ("given", "status", "key", "told"),
    [
        (peer(), 0, "largest_difference", "component"),
        (peer(change=1e-3), 1, "largest_difference", "limit 1e-05"),
        (
            peer(more=["NL_2.0.g.weight"]),
            0,
            "refused",
            "refused: mine-tiny.pth (torchvision or timm ResNet) holds non-",
        ),
        (
            peer(missing=True),
            0,
            "not_run",
            "mine not installed, tiny: not run, ImportError: No module named 'elsewhere'",
        ),
    ],
)
def test_judged_told_and_written(tmp_path, monkeypatch, capsys, given, status, key, told):
    monkeypatch.setattr(weights, "PEERS", {"mine": given})
    assert weights.main(["--output", str(tmp_path / "w.json")]) == status
    assert told in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "w.json").read_text())["results"]
    assert key in row
    assert (row["library"], row["arch"]) == ("mine", "tiny")
