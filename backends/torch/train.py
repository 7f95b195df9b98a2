"""`python -m backends.torch.train`: the shared command line with torch behind it."""

from __future__ import annotations

import sys
from typing import Any

from backends.torch.runtime import RuntimeConfig, open_runtime, rank
from core.command import Backend, train
from core.config import DataConfig, LearnerConfig


def make_learner(config: LearnerConfig, runtime: Any, seed: int) -> Any:
    """Return a TorchLearner; the framework is imported here, not for --help."""
    from backends.torch.learner import TorchLearner

    return TorchLearner(config, runtime, seed)


def open_data(name: str, config: DataConfig) -> Any:
    """Return a dataset with its images; see datasets/library.py."""
    from datasets import library

    return library.open_data(name, config)


def about(runtime: Any) -> str:
    """Return the framework, its version and the hardware."""
    import torch

    return f"torch {torch.__version__} on {runtime.name}"


BACKEND = Backend("torch", RuntimeConfig, open_runtime, about, make_learner, rank)

if __name__ == "__main__":
    sys.exit(train(BACKEND, open_data))
