"""The decoded-image cache: the same pixels either way, rebuilt when anything changes, never half there."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from duoreid.core.data import Split
from duoreid.core.settings.config import DataConfig
from duoreid.datasets import cache, library, open_dataset
from duoreid.datasets.cache import load_images
from duoreid.datasets.errors import DatasetError
from duoreid.datasets.images import Mapped, Stacked
from tests.datasets import trees
from tests.runs import bound_by_modes


def split_of(folder, count=70, **options):
    files = [trees.image(folder / f"{number:03d}.png", **options) for number in range(count)]
    blank = np.zeros(count, np.int32)
    return Split(tuple(map(str, files)), blank, blank, blank.astype(np.uint8))


def caches(folder):
    return sorted(path for path in Path(folder).iterdir() if path.is_dir())


def everything(images):
    return images[np.arange(len(images))]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_cached_and_decoded_are_the_same(tmp_path, interpolation):
    split = split_of(tmp_path / "images", size=(11, 23))
    cached = load_images(split, 16, 8, interpolation=interpolation, folder=tmp_path / "cache", progress=False)
    decoded = load_images(split, 16, 8, interpolation=interpolation)
    assert cached.shape == decoded.shape == (70, 16, 8, 3)
    assert len(cached) == len(decoded) == 70
    rows = np.array([69, 0, 3, 3, 12])
    assert cached[rows].dtype == decoded[rows].dtype == np.uint8
    assert (cached[rows] == decoded[rows]).all()
    assert len(np.unique(everything(cached).reshape(70, -1), axis=0)) == 70
    assert cached[rows[:0]].shape == decoded[rows[:0]].shape == (0, 16, 8, 3)


def test_one_cache_for_each_size_interpolation_and_state_of_the_files(tmp_path):
    split = split_of(tmp_path / "images", 3)

    def load(height=16, width=8, interpolation="bicubic"):
        return load_images(split, height, width, interpolation=interpolation, folder=tmp_path / "c", progress=False)

    load()
    load()
    assert len(caches(tmp_path / "c")) == 1
    load(height=8)
    load(interpolation="bilinear")
    assert len(caches(tmp_path / "c")) == 3
    trees.image(Path(split.files[1]), value=9)
    assert (load()[np.array([1])] == 9).all()
    assert len(caches(tmp_path / "c")) == 4


def test_new_content_of_the_same_size_is_noticed(tmp_path):
    files = [trees.image(tmp_path / f"images/{number}.bmp", value=number) for number in range(2)]
    blank = np.zeros(2, np.int32)
    split = Split(tuple(map(str, files)), blank, blank, blank)
    load_images(split, 16, 8, folder=tmp_path / "c", progress=False)
    size = files[0].stat().st_size
    time.sleep(0.01)
    trees.image(files[0], value=7)
    assert files[0].stat().st_size == size
    again = load_images(split, 16, 8, folder=tmp_path / "c", progress=False)
    assert (again[np.array([0])] == 7).all()


def test_a_moved_dataset_keeps_its_cache(tmp_path):
    split = split_of(tmp_path / "here", 3)
    load_images(split, 16, 8, folder=tmp_path / "c", progress=False)
    (tmp_path / "here").rename(tmp_path / "there")
    files = tuple(file.replace("/here/", "/there/") for file in split.files)
    moved = Split(files, split.identities, split.cameras, split.modalities)
    assert cache.fingerprint(moved) == cache.fingerprint(Split(files, *(np.zeros(3, np.int32),) * 3))
    load_images(moved, 16, 8, folder=tmp_path / "c", progress=False)
    assert len(caches(tmp_path / "c")) == 1


def test_the_order_of_rows_is_part_of_the_key(tmp_path):
    split = split_of(tmp_path / "images", 3)
    turned = Split(split.files[::-1], split.identities, split.cameras, split.modalities)
    first = load_images(split, 16, 8, folder=tmp_path / "c", progress=False)
    second = load_images(turned, 16, 8, folder=tmp_path / "c", progress=False)
    assert (everything(first) == everything(second)[::-1]).all()


def damage(place, kind):
    images = place / "images.npy"
    if kind == "cut":
        with images.open("r+b") as file:
            file.truncate(images.stat().st_size - 1)
    elif kind == "zeroed":
        with images.open("r+b") as file:
            file.seek(-100, os.SEEK_END)
            file.write(bytes(100))
    elif kind == "no checksums":
        (place / "checksums.npy").unlink()
    elif kind == "no description":
        (place / "about.json").write_text("{")
    elif kind == "another":
        about = json.loads((place / "about.json").read_text())
        (place / "about.json").write_text(json.dumps({**about, "fingerprint": "0"}))
    elif kind == "empty":
        images.write_bytes(b"")


def test_a_cache_cut_short_while_it_is_mapped_is_told_and_does_not_end_the_process(tmp_path):
    split = split_of(tmp_path / "images", 3)
    images = load_images(split, 64, 32, folder=tmp_path / "c", progress=False)
    (file,) = (tmp_path / "c").glob("*/images.npy")
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(DatasetError, match=r"images\.npy was cut short while it was read(.|\n)*--resume"):
        _ = images[np.array([2])]
    again = load_images(split, 64, 32, folder=tmp_path / "c", progress=False)  # found damaged, and built again
    shutil.rmtree(tmp_path / "c")  # a removed file stays mapped
    assert again[np.array([2])].shape == (1, 64, 32, 3)


@pytest.mark.parametrize("kind", ["cut", "zeroed", "no checksums", "no description", "another", "empty"])
def test_damage_is_noticed_on_opening_and_repaired(tmp_path, kind):
    split = split_of(tmp_path / "images")
    before = everything(load_images(split, 16, 8, folder=tmp_path / "c", progress=False))
    (place,) = caches(tmp_path / "c")
    damage(place, kind)
    after = load_images(split, 16, 8, folder=tmp_path / "c", progress=False)
    assert (everything(after) == before).all()


def test_broken_images_are_all_named_and_leave_no_cache(tmp_path):
    split = split_of(tmp_path / "images")
    for number in (2, 66):
        Path(split.files[number]).write_bytes(b"")
    with pytest.raises(DatasetError, match=r"2 of 70(.|\n)*002\.png(.|\n)*066\.png(.|\n)*doctor"):
        load_images(split, 16, 8, folder=tmp_path / "c", progress=False)
    assert caches(tmp_path / "c") == []
    with pytest.raises(DatasetError, match=r"002\.png"):
        load_images(split, 16, 8)[np.array([1, 2])]


def test_absent_files_are_named(tmp_path):
    split = split_of(tmp_path / "images", 3)
    Path(split.files[1]).unlink()
    with pytest.raises(DatasetError, match=r"1 of 3(.|\n)*001\.png"):
        load_images(split, 16, 8, folder=tmp_path / "c", progress=False)


def test_a_full_disk_is_noticed_before(tmp_path, monkeypatch):
    split = split_of(tmp_path / "images", 3)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6, 1000))
    with pytest.raises(DatasetError, match="free"):
        load_images(split, 16, 8, folder=tmp_path / "c", progress=False)


@pytest.mark.parametrize(("height", "width", "kind"), [(0, 8, "bicubic"), (16, -1, "bicubic"), (16, 8, "nearest")])
def test_bad_sizes_and_interpolations(tmp_path, height, width, kind):
    with pytest.raises(ValueError, match=r"expected|positive"):
        load_images(split_of(tmp_path, 1), height, width, interpolation=kind)


def test_an_empty_split_has_no_images_and_no_cache(tmp_path):
    none = np.zeros(0, np.int32)
    images = load_images(Split((), none, none, none), 16, 8, folder=tmp_path / "c")
    assert images.shape == images[np.zeros(0, np.int64)].shape == (0, 16, 8, 3)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("rows", [np.array([3]), np.array([-1]), np.array([0.0]), np.array([[0]]), np.array([True])])
def test_bad_rows_fail_alike(tmp_path, rows):
    split = split_of(tmp_path / "images", 3)
    for folder in (None, tmp_path / "c"):
        images = load_images(split, 16, 8, folder=folder, progress=False)
        with pytest.raises((IndexError, ValueError), match="rows"):
            images[rows]


KILLED = """
import sys, time
import numpy as np
from duoreid.core.data import Split
from duoreid.datasets import cache, images
from pathlib import Path
files = tuple(sorted(map(str, Path(sys.argv[1]).iterdir())))
blank = np.zeros(len(files), np.int32)
once = images.Decoded.one
def slow(self, row):
    if row == 40:
        print("half way", flush=True)
        time.sleep(60)
    return once(self, row)
images.Decoded.one = slow
cache.load_images(Split(files, blank, blank, blank), 16, 8, folder=sys.argv[2], progress=False)
"""


def test_a_killed_build_leaves_nothing_that_looks_whole(tmp_path):
    split = split_of(tmp_path / "images")
    worker = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "images"), str(tmp_path / "c")], stdout=subprocess.PIPE
    )
    assert worker.stdout.readline() == b"half way\n"
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    assert [place.suffix for place in caches(tmp_path / "c")] == [".building"]
    began = time.perf_counter()
    images = load_images(split, 16, 8, folder=tmp_path / "c", progress=False)
    assert time.perf_counter() - began < 20  # the dead process holds no lock
    assert (everything(images) == everything(load_images(split, 16, 8))).all()
    assert [place.suffix for place in caches(tmp_path / "c")] == [""]


def build(arguments):
    split, folder = arguments
    return int(everything(load_images(split, 16, 8, folder=folder, progress=False)).sum())


def test_several_processes_share_one_build(tmp_path):
    split = split_of(tmp_path / "images")
    expected = int(everything(load_images(split, 16, 8)).sum())
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(build, [(split, str(tmp_path / "c"))] * 3) == [expected] * 3
    assert len(caches(tmp_path / "c")) == 1


def test_shipped_arrays_are_read_in_place_or_resized(tmp_path):
    trees.sysu(tmp_path)
    for folder in tmp_path.glob("cam*/000[123]"):
        shutil.rmtree(folder)
    arrays = trees.sysu_arrays(tmp_path, 32, 16)
    train = open_dataset("sysu", tmp_path).train
    both = np.concatenate([arrays["rgb_img"], arrays["ir_img"]])
    same = load_images(train, 32, 16, folder=tmp_path / "c", progress=False)
    assert (everything(same) == both).all()
    assert not (tmp_path / "c").exists()
    small = load_images(train, 16, 8, folder=tmp_path / "c", progress=False)
    assert (everything(small) == everything(load_images(train, 16, 8))).all()
    assert small.shape == (8, 16, 8, 3)


def test_stacked_images():
    generator = np.random.default_rng(0)
    parts = [generator.integers(0, 256, (n, 4, 2, 3), np.uint8) for n in (3, 0, 5)]
    images, whole = Stacked([Mapped(part) for part in parts]), np.concatenate(parts)
    rows = generator.integers(0, 8, 50)
    assert (images[rows] == whole[rows]).all()
    assert images.shape == whole.shape
    for wrong in (-1, 8):
        with pytest.raises(IndexError, match="rows"):
            images[np.array([wrong])]
    with pytest.raises(ValueError, match="one size"):
        Stacked([Mapped(parts[0]), Mapped(parts[2][:, :2])])


def test_a_cache_folder_that_cannot_be_written(tmp_path):
    split = split_of(tmp_path / "images", 1)
    with pytest.raises(DatasetError, match="cannot write the cache"):
        load_images(split, 16, 8, folder=trees.text(tmp_path / "file", "x"), progress=False)


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from duoreid.core.data import Split
from duoreid.datasets.cache import load_images
files = tuple(sorted(map(str, Path(sys.argv[1]).iterdir())))
blank = np.zeros(len(files), np.int32)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    load_images(Split(files, blank, blank, blank), 16, 8, folder=sys.argv[2], progress=False)
except ValueError as error:
    print(error)
"""


def test_a_disk_that_fills_up_during_the_build(tmp_path):
    """The system refuses to let the file grow, as it does on a full disk; nothing half built is left."""
    split_of(tmp_path / "images")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "images"), str(tmp_path / "c")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cannot write the cache" in done.stdout
    assert "--cache-folder" in done.stdout
    assert caches(tmp_path / "c") == []


READ_ONLY = """
import sys
from duoreid.core.settings.config import DataConfig
from duoreid.datasets.library import open_data
try:
    print(len(open_data("folder", DataConfig(data=sys.argv[1], cache_folder=sys.argv[2])).train))
except ValueError as error:
    print(error)
"""


def read_only(root, elsewhere):
    words = [sys.executable, "-c", READ_ONLY, str(root), elsewhere]
    done = subprocess.run(words, capture_output=True, text=True, check=True, preexec_fn=bound_by_modes)
    return done.stdout


def test_a_read_only_data_folder_says_where_else_the_cache_may_lie(tmp_path):
    root = tmp_path / "data"
    for number in range(2):
        trees.image(root / f"{number}.jpg")
    root.chmod(0o555)
    try:
        refused = read_only(root, "")
        assert f"cannot write the cache {root}/cache" in refused
        assert "Permission denied. Choose a --cache-folder" in refused
        assert read_only(root, str(tmp_path / "elsewhere")) == "2\n"
    finally:
        root.chmod(0o755)
    assert not (root / "cache").exists()


def test_the_cache_of_a_csv_file_lies_beside_it(tmp_path):
    split_of(tmp_path / "images", 2)
    index = trees.text(tmp_path / "index.csv", "path\nimages/000.png\nimages/001.png\n")
    assert len(library.open_data("folder", DataConfig(data=str(index), height=32, width=16)).train) == 2
    assert len(caches(tmp_path / "cache")) == 1


def test_a_file_in_place_of_the_data_folder(tmp_path):
    for name in ("synthetic-a", "market1501"):
        with pytest.raises(DatasetError, match="is a file: give the folder"):
            library.open_data(name, DataConfig(data=str(trees.text(tmp_path / "file", "x"))))
