"""Files of features: `core.evaluate` reads .npz by our names, .mat and .npz by the field's; `evaluate` writes ours."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from duoreid.core.checkpoints.files import write_atomically
from duoreid.core.checkpoints.formats import mat, npz
from duoreid.core.data import Dataset, Search, Trial
from duoreid.core.errors import UserError

ARRAYS = ("query", "gallery", "query_ids", "gallery_ids", "query_cameras", "gallery_cameras")
RULE = ("ignore", "distinct_identities")

USUAL = {
    **{name: name for name in ARRAYS},
    **{
        f"{short}_{word}": f"{part}{ours}"
        for part, short in (("query", "query"), ("gallery", "gallery"))
        for ours, words in {
            "": ("f", "feature", "features", "feat"),
            "_ids": ("label", "labels", "id", "pid", "pids"),
            "_cameras": ("cam", "cams", "camid", "camids", "camera"),
        }.items()
        for word in words
    },
    **{f"{letter}_pids": f"{part}_ids" for letter, part in (("q", "query"), ("g", "gallery"))},
    **{f"{letter}_camids": f"{part}_cameras" for letter, part in (("q", "query"), ("g", "gallery"))},
    **{f"{letter}f": part for letter, part in (("q", "query"), ("g", "gallery"))},
}
"""What others call the arrays -> what they are here: layumi's gallery_f, gallery_label and gallery_cam, torchreid's
q_pids and g_camids, and their like."""


def read(file: str) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz or .mat file of features, under this library's names.

    Ids and cameras of a .mat file come as whole numbers of shape (N,), whatever type MATLAB gave them. UserError names
    the file: damaged, of another kind, an array under two names, a label that is no whole number.
    """
    path = Path(file)
    try:
        with path.open("rb") as opened:
            head = opened.read(mat.HEAD)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give an .npz or .mat file of features.") from error
    if head.startswith(b"\x93NUMPY"):
        raise UserError(f"{path} holds a single array; save the arrays {', '.join(ARRAYS)} with numpy.savez.")
    from_matlab = mat.is_one(head) or head.startswith(b"\x89HDF") or (path.suffix == ".mat" and head[:2] != b"PK")
    arrays = mat.read(path, USUAL) if from_matlab else npz.read(path, (*USUAL, *RULE))
    renamed: dict[str, np.ndarray] = {}
    for name, value in arrays.items():
        ours = USUAL.get(name, name)
        if ours in renamed:
            raise UserError(f"{path} holds {ours} twice, once as {name}: keep one of them.")
        renamed[ours] = _column(path, name, value) if from_matlab and ours not in ("query", "gallery") else value
    if from_matlab:
        _oriented(renamed)
    return renamed


def _oriented(arrays: dict[str, np.ndarray]) -> None:
    """Turn features whose columns, not rows, are as many as their labels: MATLAB's habit."""
    for part in ("query", "gallery"):
        labels, features = arrays.get(f"{part}_ids"), arrays.get(part)
        if labels is not None and features is not None and features.ndim == 2:
            rows, columns = features.shape
            if rows != len(labels) == columns:
                arrays[part] = np.ascontiguousarray(features.T)


def _column(path: Path, name: str, value: np.ndarray) -> np.ndarray:
    """Return labels (1, N) or (N, 1), in MATLAB's doubles, as int64 (N,)."""
    if value.dtype.kind not in "iuf" or value.size != max(value.shape, default=0):
        raise UserError(f"{path}: {name} must be one row of numbers, but is {value.dtype} of shape {value.shape}.")
    flat = value.ravel()
    if flat.dtype.kind == "f" and not (np.isfinite(flat).all() and (flat == np.round(flat)).all()):
        raise UserError(f"{path}: {name} must hold whole numbers, one for each feature.")
    return flat.astype(np.int64)


def save(path: Path, role: str, features: np.ndarray, dataset: Dataset) -> None:
    """Write the features of each draw; one draw of one network goes to `path` itself, several beside it."""
    path = path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz")
    draws = [(search, index, trial) for search in dataset.searches for index, trial in enumerate(search.trials, 1)]
    for search, index, trial in draws:
        parts = [role] + ([search.name, str(index)] if len(draws) > 1 else [])
        label = "-".join(re.sub(r"[^\w]+", "-", part).strip("-") for part in parts if part)
        file = io.BytesIO()
        np.savez(file, **arrays(features, dataset, search, trial))
        write_atomically(path.with_stem(f"{path.stem}-{label}") if label else path, file.getvalue())
    if not draws:
        file = io.BytesIO()
        np.savez(file, features=features, files=np.array(dataset.test.files, dtype=np.str_))
        write_atomically(path.with_stem(f"{path.stem}-{role}") if role else path, file.getvalue())


def arrays(features: np.ndarray, dataset: Dataset, search: Search, trial: Trial) -> dict[str, np.ndarray]:
    """Return what `python -m core.evaluate` reads: features, identities and cameras of query and gallery, and the rule.

    query_files, gallery_files: the images that the rows are of, which the command does not need.
    ignore, distinct_identities: of the search (core/data.py), so that the command scores as this one does.
    """
    by_name = {"ignore": np.array(search.ignore), "distinct_identities": np.array(search.distinct_identities)}
    for part, rows in (("query", trial.query), ("gallery", trial.gallery)):
        by_name[part], by_name[f"{part}_ids"] = features[rows], dataset.test.identities[rows]
        by_name[f"{part}_cameras"] = dataset.test.cameras[rows]
        by_name[f"{part}_files"] = np.array([dataset.test.files[row] for row in rows], dtype=np.str_)
    return by_name
