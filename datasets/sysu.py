"""SYSU-MM01: four visible cameras (1, 2, 4, 5) and two infrared ones (3, 6).

cam1/0001/0001.jpg is identity 1, image 1. exp/{train,val,test}_id.txt hold the identities of each part, separated by
commas. Training images come from the folders or, where these hold none, from the arrays of the MindSpore port
of MVD, train_{rgb,ir}_resized_{img,label}.npy, in which the cameras are not recorded.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from duoreid.core.data import INFRARED, VISIBLE, Dataset, Split
from duoreid.datasets.errors import DatasetError, Problem
from duoreid.datasets.files import DIGITS, images, read_lines
from duoreid.datasets.images import Mapped, Stacked
from duoreid.datasets.roots import Part, require
from duoreid.datasets.sysu_draws import GALLERY, INFRARED_CAMERAS, VISIBLE_CAMERAS, load_mat, searches
from duoreid.datasets.table import Table

SPELLINGS = ("SYSU-MM01", "sysu")
PARTS = (
    *(
        Part(f"cam{camera}/", f"{'infrared' if camera in INFRARED_CAMERAS else 'visible'}, 0001/0001.jpg and so on")
        for camera in range(1, 7)
    ),
    Part("exp/train_id.txt", "training identities", ("exp/train_id.mat",)),
    Part("exp/val_id.txt", "validation identities, trained on too", ("exp/val_id.mat",)),
    Part("exp/test_id.txt", "test identities", ("exp/test_id.mat",)),
    Part("exp/rand_perm_cam.mat", "the official draws of the gallery", ("rand_perm_cam.mat",), needed=False),
    Part("train_rgb_resized_img.npy", "visible training images, instead of those in cam*", needed=False),
    Part("train_rgb_resized_label.npy", "their identities", needed=False),
    Part("train_ir_resized_img.npy", "infrared training images, instead of those in cam*", needed=False),
    Part("train_ir_resized_label.npy", "their identities", needed=False),
)
ARRAYS = {"rgb": VISIBLE, "ir": INFRARED}


def read(root: Path, name: str, problems: list[Problem], seed: int, draws: str = "own") -> Dataset:
    """Read SYSU-MM01. seed: of the gallery's draws where there are no official ones. draws: of DRAWS.

    DatasetError where a needed part is missing or nothing can be trained on; others go to `problems`.
    """
    places = require(root, name, PARTS)
    ids = {half: _ids(places[f"exp/{half}_id.txt"]) for half in ("train", "val", "test")}
    shared = (ids["train"] | ids["val"]) & ids["test"]
    if shared:
        text = "identities that the lists name for both training and test:"
        problems.append(Problem("shared identities", text, tuple(map(str, sorted(shared)))))
    train = Table()
    for camera in (*VISIBLE_CAMERAS, *INFRARED_CAMERAS):
        _camera(places, camera, ids["train"] | ids["val"], train, problems)
    test = Table()
    for camera in (*INFRARED_CAMERAS, *GALLERY["all"]):
        if not _camera(places, camera, ids["test"], test, problems):
            raise DatasetError(f"{places[f'cam{camera}/']} holds no image of the identities in exp/test_id.txt.")
    return Dataset(
        name,
        str(root),
        train.split() if len(train) else _from_arrays(root, name, places),
        test.split(),
        searches(test.split(), places.get("exp/rand_perm_cam.mat"), seed, draws, problems),
    )


def _camera(places: dict[str, Path], camera: int, ids: set[int], table: Table, problems: list[Problem]) -> int:
    """Append one camera's images of the wanted identities and return their number."""
    before, unparsed = len(table), []
    for identity in sorted(ids):
        folder = places[f"cam{camera}/"] / f"{identity:04d}"
        if not folder.is_dir():
            continue  # not everybody passes each camera
        for file in images(folder, problems):
            if file.stem.isdecimal():
                table.add(file, identity, camera, INFRARED if camera in INFRARED_CAMERAS else VISIBLE)
            else:
                unparsed.append(str(file))
    if unparsed:
        text = f"names in cam{camera} that do not parse, expected names like 0001.jpg:"
        problems.append(Problem("names", text, tuple(unparsed)))
    return len(table) - before


def _ids(file: Path) -> set[int]:
    """Read the identities of one part from its .txt (separated by commas) or .mat file."""
    if file.suffix == ".mat":
        return {int(identity) for identity in load_mat(file, "id").ravel()}
    words = [word for line in read_lines(file) for word in re.split(r"[,\s]+", line) if word]
    wrong = [word for word in words if not word.isdecimal() or len(word) > DIGITS]
    if wrong or not words:
        fault = f"{wrong[0]!r} in it" if wrong else "an empty file"
        raise DatasetError(f"{file}: expected identities separated by commas, e.g. 1,2,4, found {fault}.")
    return set(map(int, words))


def _from_arrays(root: Path, name: str, places: dict[str, Path]) -> Split:
    """Return the training split from the .npy files; the identities are numbered as these do."""
    wanted = [part.path for part in PARTS if part.path.endswith(".npy")]
    missing = [path for path in wanted if path not in places]
    if missing:
        raise DatasetError(
            f"{name} in {root} has no training images: cam1 to cam6 hold none of the identities in "
            f"exp/train_id.txt and exp/val_id.txt, and without them {', '.join(missing)} would be needed."
        )
    stack, files, labels, modalities = [], [], [], []
    for kind, modality in ARRAYS.items():
        pixels = _array(places[f"train_{kind}_resized_img.npy"])
        ids = _array(places[f"train_{kind}_resized_label.npy"])
        if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
            raise DatasetError(
                f"train_{kind}_resized_img.npy: expected uint8 (N, H, W, 3), found {pixels.dtype} {pixels.shape}."
            )
        if ids.shape != pixels.shape[:1] or ids.dtype.kind not in "iu":
            raise DatasetError(
                f"train_{kind}_resized_label.npy: expected {len(pixels)} integers, found {ids.dtype} {ids.shape}."
            )
        stack.append(Mapped(pixels))
        files += [f"{places[f'train_{kind}_resized_img.npy'].absolute()}#{row}" for row in range(len(pixels))]
        labels.append(np.asarray(ids, np.int32))
        modalities.append(np.full(len(pixels), modality, np.uint8))
    if stack[0].shape[1:] != stack[1].shape[1:]:
        raise DatasetError(f"the two arrays hold images of different sizes: {stack[0].shape} and {stack[1].shape}.")
    cameras = np.full(len(files), -1, np.int32)
    return Split(tuple(files), np.concatenate(labels), cameras, np.concatenate(modalities), Stacked(stack))


def _array(file: Path) -> np.ndarray:
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{file} is no array that can be read: {error}. Make it again.") from error
