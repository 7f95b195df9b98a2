"""What the shared commands are given to run with MindSpore."""

from __future__ import annotations

from typing import Any

from duoreid.backends.mindspore.runtime import RuntimeConfig, open_runtime, process_index
from duoreid.core.commands.command import Backend
from duoreid.core.settings.config import DataConfig, LearnerConfig


def make_learner(config: LearnerConfig, runtime: Any, seed: int) -> Any:
    """Return a MindSporeLearner; the framework is imported here, not for --help."""
    from duoreid.backends.mindspore.learner import MindSporeLearner

    return MindSporeLearner(config, runtime, seed)


def open_data(name: str, config: DataConfig, trial: int = 1) -> Any:
    """Return a dataset with its images; see datasets/library.py."""
    from duoreid.datasets import library

    return library.open_data(name, config, trial)


def about(runtime: Any) -> str:
    """Return the framework, its version and the hardware."""
    import mindspore

    return f"mindspore {mindspore.__version__} on {runtime.name}"


BACKEND = Backend("mindspore", RuntimeConfig, open_runtime, about, make_learner, process_index)
