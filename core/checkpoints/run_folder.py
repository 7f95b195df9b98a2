"""Which file of weights a path stands for: a file for itself, a run's folder for the last state in it."""

from __future__ import annotations

from pathlib import Path

from duoreid.core.errors import UserError

LAST = "last.safetensors"
"""A run's last snapshot; see core/training/snapshot.py."""

UNFINISHED = ("previous", "best")
"""How names of states begin or end that a run keeps beside what it has finished."""


def file_of(path: Path) -> Path:
    """Return the file of weights that a path stands for.

    Of a run's folder that is LAST, or, where LAST was removed, the one network that the run has finished. UserError
    for a folder without a run, a run that has saved nothing, and one of several finished networks.
    """
    if not path.is_dir():
        return path
    if not (path / "config.json").is_file():
        raise UserError(
            f"{path} is a folder but no run's (it holds no config.json): give a file of weights, or the folder that a "
            "training run printed at its beginning."
        )
    if (path / LAST).is_file():
        return path / LAST
    finished = sorted(file for file in path.glob("*.safetensors") if not _unfinished(file.stem))
    if len(finished) == 1:
        return finished[0]
    if not finished:
        raise UserError(f"{path} is the folder of a run that has saved no networks yet: let it train longer.")
    raise UserError(
        f"{path} holds no {LAST} but several finished networks: choose one of {', '.join(map(str, finished))}."
    )


def _unfinished(stem: str) -> bool:
    return stem.startswith(UNFINISHED) or stem.endswith(UNFINISHED)
