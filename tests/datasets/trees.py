"""Miniature trees in the layouts of the real datasets, with the oddities of the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def image(file: Path, value: int | None = None, size: tuple[int, int] = (8, 16), mode: str = "RGB") -> Path:
    """Write a small image whose content follows from its path, or is flat where a value is given."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if value is None:
        generator = np.random.default_rng(list(str(file).encode()))
        pixels = generator.integers(0, 256, (size[1], size[0], 3), np.uint8)
    else:
        pixels = np.full((size[1], size[0], 3), value, np.uint8)
    Image.fromarray(pixels).convert(mode).save(file)
    return file


def clutter(folder: Path) -> None:
    """Add what Windows, macOS and people leave between images."""
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (folder / "._0001_c1s1_000001_00.jpg").write_bytes(b"\x00\x05\x16\x07")
    (folder / "readme.txt").write_text("hello")


def text(file: Path, content: str) -> Path:
    """Write a text file and its folders."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def market(root: Path) -> Path:
    """Two training people, two test people on two of three cameras, one distractor, one junk image."""
    for person in (2, 7):
        for camera in (1, 2, 3):
            image(root / f"bounding_box_train/{person:04d}_c{camera}s1_{camera:06d}_00.jpg")
    for person, cameras in ((1, (1, 2)), (5, (2, 3))):  # no person passes every camera
        image(root / f"query/{person:04d}_c{cameras[0]}s1_000100_00.jpg")
        for camera in cameras:
            image(root / f"bounding_box_test/{person:04d}_c{camera}s1_{camera:06d}_01.jpg")
    image(root / "bounding_box_test/0000_c1s1_000300_01.jpg")
    image(root / "bounding_box_test/-1_c3s1_000400_01.jpg")
    clutter(root / "bounding_box_test")
    return root


def duke(root: Path) -> Path:
    """One training and one test person."""
    image(root / "bounding_box_train/0001_c2_f0046182.jpg")
    image(root / "query/0005_c1_f0000001.jpg")
    image(root / "bounding_box_test/0005_c2_f0000002.jpg")
    image(root / "bounding_box_test/0006_c8_f0000003.jpg")
    return root


def msmt(root: Path, version: int = 1) -> Path:
    """Training and test both number their people from 0; one validation image."""
    train, test = ("train", "test") if version == 1 else ("mask_train_v2", "mask_test_v2")
    lists = {
        "train": (train, [("0000", 1, 0), ("0000", 15, 1), ("0001", 2, 2)]),
        "val": (train, [("0001", 3, 3)]),
        "query": (test, [("0000", 1, 0), ("0001", 4, 1)]),
        "gallery": (test, [("0000", 2, 2), ("0001", 5, 3), ("0002", 5, 4)]),
    }
    for kind, (folder, rows) in lists.items():
        lines = []
        for person, camera, number in rows:
            path = f"{person}/{person}_{number:03d}_{camera:02d}_0303morning_0008_0.jpg"
            image(root / folder / path)
            lines.append(f"{path} {int(person)}")
        text(root / f"list_{kind}.txt", "\n".join(lines) + "\n")
    return root


def sysu(root: Path, shots: int = 12, *, draws: bool = False) -> Path:
    """People 1 and 2 train, 3 validates, 4 and 9 test; 9 is not on cam2, 4 has `shots` images on cam1."""
    for camera in range(1, 7):
        for person in (1, 2, 3, 4, 9):
            if (camera, person) == (2, 9):
                continue
            for number in range(1, (shots if (camera, person) == (1, 4) else 2) + 1):
                image(root / f"cam{camera}/{person:04d}/{number:04d}.jpg")
    clutter(root / "cam1/0004")
    text(root / "exp/train_id.txt", "1,2\n")
    text(root / "exp/val_id.txt", "3")
    text(root / "exp/test_id.txt", "4,9\n")
    if draws:
        permutations(root, shots)
    return root


def permutations(root: Path, shots: int) -> np.ndarray:
    """Write rand_perm_cam.mat as MATLAB nests it: cell{camera}{identity} = (trials, images), from 1."""
    from scipy.io import savemat

    generator = np.random.default_rng(3)
    cells = np.empty((6, 1), object)
    for camera in range(1, 7):
        people = np.empty((9, 1), object)
        for person in range(1, 10):
            folder = root / f"cam{camera}/{person:04d}"
            count = len(list(folder.glob("0*.jpg"))) if folder.is_dir() else 0
            rows = [generator.permutation(count) + 1 for _ in range(10)]
            people[person - 1, 0] = np.array(rows, np.uint8) if count else np.zeros((0, 0), np.uint8)
        cells[camera - 1, 0] = people
    (root / "exp").mkdir(exist_ok=True)
    savemat(root / "exp/rand_perm_cam.mat", {"rand_perm_cam": cells})
    return cells


def sysu_arrays(root: Path, height: int = 16, width: int = 8) -> dict[str, np.ndarray]:
    """Write the training arrays of the MindSpore port."""
    generator = np.random.default_rng(0)
    arrays = {}
    for kind, count in (("rgb", 5), ("ir", 3)):
        arrays[f"{kind}_img"] = generator.integers(0, 256, (count, height, width, 3), np.uint8)
        arrays[f"{kind}_label"] = np.arange(count) % 3
    for name, array in arrays.items():
        kind, what = name.split("_")
        np.save(root / f"train_{kind}_resized_{what}.npy", array)
    return arrays


def regdb(root: Path, trials: tuple[int, ...] = (1, 2)) -> Path:
    """Four people, two images a side; the halves swap from one trial to the next."""
    for person in range(1, 5):
        for number in (1, 2):
            for side, letter in (("Visible", "v"), ("Thermal", "t")):
                image(root / f"{side}/{person}/male_front_{letter}_{number:05d}_{person}.bmp")
    for trial in trials:
        halves = {"train": (1, 2), "test": (3, 4)}
        if trial % 2 == 0:
            halves = {"train": halves["test"], "test": halves["train"]}
        for half, people in halves.items():
            for side, letter in (("Visible", "v"), ("Thermal", "t")):
                lines = [
                    f"{side}/{person}/male_front_{letter}_{number:05d}_{person}.bmp {label}"
                    for label, person in enumerate(people)
                    for number in (1, 2)
                ]
                text(root / f"idx/{half}_{side.lower()}_{trial}.txt", "\n".join(lines) + "\n")
    return root


def folder(root: Path) -> Path:
    """Own data: names instead of numbers, cameras as folders."""
    for split in ("train", "query", "gallery"):
        for person in ("ann", "bob") if split == "train" else ("cid", "dee"):
            for camera in ("door", "hall"):
                image(root / split / person / camera / f"{split}.png")
    return root


def cuhk03(root: Path) -> Path:
    """One training and one test person, both on two cameras."""
    for split, person in (("bounding_box_train", 1), ("bounding_box_test", 2)):
        for camera in (1, 2):
            image(root / split / f"{person:04d}_c{camera}_{camera}.png")
    image(root / "query" / "0002_c1_7.png")
    return root


def veri(root: Path) -> Path:
    """One training and one test vehicle, both on two of twenty cameras."""
    for split, vehicle in (("image_train", 1), ("image_test", 2)):
        for camera in (2, 20):
            image(root / split / f"{vehicle:04d}_c{camera:03d}_00030600_0.jpg")
    image(root / "image_query" / "0002_c002_00030605_0.jpg")
    return root


def vehicleid(root: Path) -> Path:
    """Two training vehicles; three in the small test, of which the medium one shares two and has one more."""
    lists = {
        "train_list": {5: (1, 2), 9: (3,)},
        "test_list_800": {20: (4, 5, 6), 21: (7, 8), 22: (9, 10)},
        "test_list_1600": {20: (4, 5, 6), 21: (7, 8), 23: (11, 12)},
    }
    for name, vehicles in lists.items():
        lines = [f"{number:07d} {vehicle}" for vehicle, numbers in vehicles.items() for number in numbers]
        for line in lines:
            image(root / "image" / f"{line.split()[0]}.jpg")
        text(root / f"train_test_split/{name}.txt", "\n".join(lines) + "\n")
    return root


def llcm(root: Path) -> Path:
    """Two training and two test people; three images of each camera, of which the third has no infrared ones."""
    for kind, letter in (("vis", "vis"), ("nir", "nir")):
        lines = []
        for person in (1, 2):
            path = f"{kind}/{person:04d}/{person:04d}_c0{person}_s185535_f7010_{letter}.jpg"
            image(root / path)
            lines.append(f"{path} {person - 1}")
        text(root / f"idx/train_{kind}.txt", "\n".join(lines) + "\n")
        for person in (8, 9):
            for camera in (1, 3, 4) if kind == "vis" else (1, 4):
                for number in range(3):
                    name = f"{person:04d}_c0{camera}_s1_f{number}_{letter}.jpg"
                    image(root / f"test_{kind}/cam{camera}/{person:04d}/{name}")
    text(root / "idx/test_id.txt", "8,9\n")
    return root


MARS_TRAIN = ((1, 1, 2), (1, 3, 3), (2, 2, 1), (2, 6, 2))
MARS_TEST = ((-1, 1, 2), (0, 2, 3), (4, 1, 1), (4, 2, 4), (6, 3, 2), (6, 3, 1), (6, 5, 3))
"""Tracklets: person, camera, images."""


def mars(root: Path) -> Path:
    """Two training people; a junk tracklet, a distractor and two people in the test, tracklets 3, 5 and 7 ask."""
    from scipy.io import savemat

    for half, tracklets in (("train", MARS_TRAIN), ("test", MARS_TEST)):
        names, rows = [], []
        for number, (person, camera, length) in enumerate(tracklets, start=1):
            folder = "00-1" if person < 0 else f"{person:04d}"
            rows.append((len(names) + 1, len(names) + length, person, camera))
            names += [f"{folder}C{camera}T{number:04d}F{frame:03d}.jpg" for frame in range(1, length + 1)]
        for name in names:
            image(root / f"bbox_{half}" / name[:4] / name)
        text(root / f"info/{half}_name.txt", "\n".join(names) + "\n")
        savemat(root / f"info/tracks_{half}_info.mat", {f"track_{half}_info": np.array(rows, np.int32)})
    savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([[3, 5, 7]], np.uint16)})
    return root


TREES = {
    "mars": mars,
    "occluded-duke": duke,
    "cuhk03-detected": cuhk03,
    "cuhk03-labeled": cuhk03,
    "veri776": veri,
    "vehicleid": vehicleid,
    "llcm": llcm,
    "market1501": market,
    "dukemtmc": duke,
    "msmt17": msmt,
    "sysu": sysu,
    "regdb": regdb,
    "folder": folder,
    "synthetic-a": market,
    "synthetic-sysu": sysu,
    "synthetic-regdb": regdb,
}
