"""Files of features that `core.evaluate` reads: .npz by our names, .mat and .npz by the names that the field uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from duoreid.core.checkpoints.formats import mat, npz
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
    found: dict[str, np.ndarray] = {}
    for name, value in arrays.items():
        ours = USUAL.get(name, name)
        if ours in found:
            raise UserError(f"{path} holds {ours} twice, once as {name}: keep one of them.")
        found[ours] = _column(path, name, value) if from_matlab and ours not in ("query", "gallery") else value
    if from_matlab:
        _oriented(found)
    return found


def _oriented(found: dict[str, np.ndarray]) -> None:
    """Turn features whose columns, not rows, are as many as their labels: MATLAB's habit."""
    for part in ("query", "gallery"):
        labels, features = found.get(f"{part}_ids"), found.get(part)
        if labels is not None and features is not None and features.ndim == 2:
            rows, columns = features.shape
            if rows != len(labels) == columns:
                found[part] = np.ascontiguousarray(features.T)


def _column(path: Path, name: str, value: np.ndarray) -> np.ndarray:
    """Return labels (1, N) or (N, 1), in MATLAB's doubles, as int64 (N,)."""
    if value.dtype.kind not in "iuf" or value.size != max(value.shape, default=0):
        raise UserError(f"{path}: {name} must be one row of numbers, but is {value.dtype} of shape {value.shape}.")
    flat = value.ravel()
    if flat.dtype.kind == "f" and not (np.isfinite(flat).all() and (flat == np.round(flat)).all()):
        raise UserError(f"{path}: {name} must hold whole numbers, one for each feature.")
    return flat.astype(np.int64)
