"""`python -m backends.mindspore.evaluate`: the shared command with MindSpore behind it."""

from __future__ import annotations

import sys

from backends.mindspore.train import BACKEND, open_data
from core.evaluation import evaluate

if __name__ == "__main__":
    sys.exit(evaluate(BACKEND, open_data))
