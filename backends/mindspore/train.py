"""`python -m backends.mindspore.train`: the shared command line with MindSpore behind it."""

from __future__ import annotations

import sys
from typing import Any

from backends.mindspore.runtime import RuntimeConfig, open_runtime, rank
from core.command import Backend, train
from core.config import DataConfig, LearnerConfig


def make_learner(config: LearnerConfig, runtime: Any, seed: int) -> Any:
    """Return a MindSporeLearner; the framework is imported here, not for --help."""
    from backends.mindspore.learner import MindSporeLearner

    return MindSporeLearner(config, runtime, seed)


def open_data(name: str, config: DataConfig) -> Any:
    """Return a dataset with its images; see datasets/library.py."""
    from datasets import library

    return library.open_data(name, config)


def about(runtime: Any) -> str:
    """Return the framework, its version and the hardware."""
    import mindspore

    return f"mindspore {mindspore.__version__} on {runtime.name}"


BACKEND = Backend("mindspore", RuntimeConfig, open_runtime, about, make_learner, rank)

if __name__ == "__main__":
    sys.exit(train(BACKEND, open_data))
