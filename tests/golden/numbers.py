"""What the public codes of MMT and MVD computed: arrays and documents in the folders beside this file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent


@cache
def arrays(name: str) -> dict[str, np.ndarray]:
    """Return every array of "mmt/NAME" or "mvd/NAME" (.npz)."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


@cache
def document(name: str) -> dict[str, Any]:
    """Return the contents of "mmt/NAME" or "mvd/NAME" (.json)."""
    return json.loads((FOLDER / f"{name}.json").read_text())
