"""What tests of the evaluate command share: a checkpoint, a dataset that lies in memory, and the numbers expected."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from duoreid.backends.torch import probe
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.commands import evaluate as evaluation
from duoreid.core.contract.state import initial, network
from duoreid.core.data import Dataset, OpenData, Search, Split, Trial
from duoreid.core.methods.registry import spec_of
from duoreid.core.protocols import evaluate
from duoreid.core.settings.config import LearnerConfig, NetworkConfig, as_dict
from duoreid.core.settings.transfer import MMTRecipe, TransferDataConfig

HEIGHT, WIDTH, CLASSES = 64, 32, 6
CONFIG = MMTRecipe(
    data=replace(TransferDataConfig(), source="market1501", target="dukemtmc", height=HEIGHT, width=WIDTH),
    network=NetworkConfig(arch="tiny"),
)


def learner_config(method: str) -> LearnerConfig:
    return spec_of(method).learner_config(CONFIG.network, CLASSES, CLASSES, HEIGHT, WIDTH)


def save(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Write a checkpoint of an adaptation and return it with its state: networks with weights of their own."""
    state = initial(learner_config("mmt"), 3)
    numbers = np.random.default_rng(0)
    for role in ("student1", "student2", "teacher1", "teacher2"):
        name = f"{role}.neck.running_mean"
        state[name] = numbers.standard_normal(state[name].shape).astype(np.float32)
    path = folder / "last.safetensors"
    checkpoint.save(path, state, {"config": as_dict(CONFIG), "stage": 2, "epoch": 1})
    return path, state


def opened(name: str = "dukemtmc", *, ignore: str = "same-camera", trials: int = 1, trial: int = 0) -> OpenData:
    """Eight people before three cameras; images of one person share a tint, beside one of each image's own."""
    numbers = np.random.default_rng(1)
    identities = np.repeat(np.arange(8, dtype=np.int32), 3)
    cameras = np.tile(np.array([1, 2, 3], np.int32), 8)
    tints = numbers.integers(0, 70, (8, 1, 1, 3))[identities] + numbers.integers(0, 70, (24, 1, 1, 3))
    images = (tints + numbers.integers(0, 56, (24, HEIGHT, WIDTH, 3))).astype(np.uint8)
    rows = np.arange(24)
    draws = tuple(
        Trial(rows[cameras == 1 + index], np.flatnonzero(cameras != 1 + index if ignore == "nothing" else cameras))
        for index in range(trials)
    )
    searches = (Search("test", draws, ignore, official=trials == 1),) if trials else ()
    split = Split(tuple(f"{row}.jpg" for row in rows), identities, cameras, np.zeros(24, np.uint8))
    return OpenData(Dataset(name, "/data", split, split, searches, trial), images, images)


def run(argv: list, data: OpenData, backend: str = "torch") -> int:
    """Run the command with a dataset that lies in memory."""
    module = importlib.import_module(f"duoreid.backends.{backend}.entry")
    return evaluation.evaluate(module.BACKEND, lambda name, config, trial: data, [str(word) for word in argv])


def expected(state: dict[str, np.ndarray], role: str, data: OpenData) -> list:
    outputs = probe.forward(CONFIG.network, network(state, role), data.test, train=False)
    return evaluate(outputs["embedding"], data.dataset)
