"""Networks that somebody gives in place of stage 1 (`--start`): anybody's weights, for which no source is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from duoreid.core.checkpoints import weights
from duoreid.core.errors import UserError
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.backbones import BACKBONES
from duoreid.core.settings.config import Config, LearnerConfig, NetworkConfig

STAGE1 = "stage1-1.safetensors"
"""What a run folder with networks of stage 1 holds."""


def is_run(start: Sequence[str]) -> bool:
    """Whether `--start` names one folder of a run, whose networks of stage 1 are taken.

    >>> is_run(("resnet50.pth",)), is_run(())
    (False, False)
    """
    return len(start) == 1 and ((Path(start[0]) / STAGE1).is_file() or Path(start[0]).is_dir())


def given_weights(config: Config, students: int) -> tuple[str, ...]:
    """Return the weights file of each student that `--start` names; () where it names a run, or nothing.

    One file is every student's. UserError where there are more files than students, and for --weights beside them.
    """
    start = tuple(getattr(config.run, "start", ()))
    if not start or is_run(start):
        return ()
    if len(start) not in (1, students):
        wanted = f"1 or {students}" if students > 1 else "1"
        raise UserError(f"--start names {len(start)} files, expected {wanted}: {config.method} trains {students}.")
    if config.network.weights:
        raise UserError(
            f"--weights {config.network.weights} starts stage 1, which --start {' '.join(start)} takes the place of: "
            "give one of them."
        )
    return start * students if len(start) == 1 else start


def load_given(
    files: Sequence[str], settings: LearnerConfig, say: Callable[[str], None]
) -> list[dict[str, np.ndarray]]:
    """Return the tensors of each network, and say what each file is. UserError where one does not fit."""
    loaded = {file: weights.load(file, settings, capacity=settings.capacity) for file in dict.fromkeys(files)}
    for file, (_, report) in loaded.items():
        numbers = " and ".join(str(index) for index, other in enumerate(files, 1) if other == file)
        say(f"network {numbers} · {report}")
    if len(files) > 1 and len(loaded) == 1:
        say("  the networks start alike, and differ by what they are shown: two files of different seeds teach more")
    return [loaded[file][0] for file in files]


def arch_of(file: str, network: NetworkConfig, height: int, width: int) -> str:
    """Return the first architecture that a weights file fits; UserError of the configured one where none does."""
    first: UserError | None = None
    for arch in (network.arch, *(name for name in BACKBONES if name != network.arch)):
        try:
            weights.load(file, BackboneConfig(replace(network, arch=arch), height, width))
        except UserError as error:
            first = first or error
        else:
            return arch
    raise first
