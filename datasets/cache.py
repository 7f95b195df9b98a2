"""Decoded images on disk: every image decoded and resized once, then read from a memory-mapped file by any backend.

A cache is a folder FOLDER/KEY of three files: images.npy, uint8 (N, H, W, 3); checksums.npy, the CRC-32 of each
row; about.json, what it was made from. KEY is a digest of the list of files with their sizes and times, of the
size in pixels, of the interpolation and of the decoder's version, so that a change of any of them is another cache. It
is built beside its place and renamed when whole: a build that is killed leaves nothing that looks like a cache.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import shutil
import zlib
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import PIL
from tqdm import tqdm

from duoreid.core.data import Images, Split
from duoreid.core.locking import alone
from duoreid.datasets import decode
from duoreid.datasets.errors import DatasetError, listed
from duoreid.datasets.images import Decoded, Mapped, cores

VERIFIED = 256  # rows whose checksum is compared each time a cache is opened
CHUNK = 64


def load_images(
    split: Split,
    height: int,
    width: int,
    *,
    interpolation: str = "bicubic",
    folder: str | Path | None = None,
    progress: bool = True,
) -> Images:
    """Return a split's images at a size, `images[rows]` -> uint8 (n, height, width, 3).

    interpolation: a name of datasets/decode.py. folder: where caches are kept; this split's is built there if it is not
    yet. None: nothing is kept, images are decoded whenever they are asked for. progress: show a bar while building,
    on a terminal.
    Raises DatasetError naming the images that cannot be decoded, and where the disk is too small.
    """
    decode.check_interpolation(interpolation)
    if height < 1 or width < 1:
        raise ValueError(f"the size of images in pixels must be positive, got {height} x {width}.")
    if not len(split):  # a user's own images may have nothing to test on, or nothing to train on
        return Mapped(np.zeros((0, height, width, 3), np.uint8))
    if split.pixels is not None and tuple(split.pixels.shape[1:3]) == (height, width):
        return Mapped(split.pixels) if isinstance(split.pixels, np.ndarray) else split.pixels
    images = Decoded(split, height, width, interpolation)
    if folder is None:
        return images
    about = {
        "fingerprint": fingerprint(split),
        "shape": list(images.shape),
        "interpolation": interpolation,
        "decoder": [decode.VERSION, PIL.__version__],
    }
    place = Path(folder).expanduser() / hashlib.blake2b(json.dumps(about).encode(), digest_size=12).hexdigest()
    cached = open_cache(place, about)
    if cached is None:
        try:
            cached = _build_once(images, place, about, progress)
        except OSError as error:
            raise DatasetError(
                f"cannot write the cache {place}: {error.strerror}. Choose a --cache-folder that can be written "
                "and has room, or decode without a cache (--no-cache)."
            ) from error
    if cached is None:
        raise DatasetError(
            f"the cache {place} does not read back as written: is the disk faulty? Choose another folder."
        )
    return cached


def fingerprint(split: Split) -> str:
    """Return a digest of a split's files: their paths below their common folder, sizes and times of change."""
    names = [file.split(".npy#")[0] + ".npy" if ".npy#" in file else file for file in split.files]
    unique = list(dict.fromkeys(names))
    common = os.path.commonpath([os.path.dirname(name) for name in unique])
    stats, missing = {}, []
    for name in unique:
        try:
            status = os.stat(name)
            stats[name] = f"{os.path.relpath(name, common)} {status.st_size} {status.st_mtime_ns}"
        except OSError as error:
            missing.append(f"{name}: {error.strerror}")
    if missing:
        raise DatasetError(f"{len(missing)} of {len(unique)} files cannot be read:{listed(missing)}")
    digest = hashlib.blake2b(digest_size=16)
    for file, name in zip(split.files, names, strict=True):
        digest.update(f"{stats[name]} {file[len(name) :]}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def open_cache(place: Path, about: dict) -> Mapped | None:
    """Open a cache, or return None where it is absent or not what it should be.

    Its description, shape and size are compared, and the checksums of 256 rows spread over it.
    """
    try:
        if json.loads((place / "about.json").read_text()) != about:
            return None
        array = np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
        checksums = np.load(place / "checksums.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if list(array.shape) != about["shape"] or array.dtype != np.uint8 or checksums.shape != array.shape[:1]:
        return None
    count = len(array)
    rows = np.unique(np.linspace(0, count - 1, min(VERIFIED, count)).astype(int))
    if any(zlib.crc32(array[row]) != checksums[row] for row in rows):
        return None
    _tell_of_bus_errors()
    return Mapped(array)


def _tell_of_bus_errors() -> None:
    """Have Python say where a process ends that reads a mapped file which is cut short at that very instant."""
    if not faulthandler.is_enabled():
        with suppress(AttributeError, ValueError, OSError):  # a stderr that is no file
            faulthandler.enable()


def _build_once(images: Decoded, place: Path, about: dict, progress: bool) -> Mapped | None:
    """Build a cache, or wait for the process that is building it, and open it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with alone(place.with_name(f"{place.name}.lock")):
        cached = open_cache(place, about)
        if cached is None:
            _build(images, place, about, progress)
            cached = open_cache(place, about)
        return cached


def _build(images: Decoded, place: Path, about: dict, progress: bool) -> None:
    """Decode everything into a folder beside `place` and rename it. The caller holds the lock."""
    for left in place.parent.glob(f"{place.name}.building*"):  # of builds that were killed
        shutil.rmtree(left, ignore_errors=True)
    needed, free = int(np.prod(images.shape)), shutil.disk_usage(place.parent).free
    if needed * 1.01 > free:
        raise DatasetError(
            f"the cache of {len(images):,} images needs {needed / 1e9:.1f} GB, but {place.parent} has "
            f"{free / 1e9:.1f} GB free. Choose a --cache-folder on another disk, or decode without (--no-cache)."
        )
    building = place.with_name(f"{place.name}.building")
    building.mkdir()
    try:
        array = np.lib.format.open_memmap(building / "images.npy", mode="w+", dtype=np.uint8, shape=images.shape)
        _reserve(building / "images.npy")
        checksums = np.zeros(len(images), np.uint32)
        _decode_all(images, array, checksums, progress)
        array.flush()
        del array
        np.save(building / "checksums.npy", checksums)
        (building / "about.json").write_text(json.dumps(about))
        for file in building.iterdir():
            _to_disk(file)
        shutil.rmtree(place, ignore_errors=True)  # a cache that failed verification
        building.replace(place)
        _to_disk(place.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _decode_all(images: Decoded, array: np.ndarray, checksums: np.ndarray, progress: bool) -> None:
    broken: list[str] = []

    def fill(start: int) -> int:
        stop = min(start + CHUNK, len(images))
        for row in range(start, stop):
            try:
                array[row] = images.one(row)
            except decode.ImageError as error:
                broken.append(str(error))
            checksums[row] = zlib.crc32(array[row])
        return stop - start

    hidden = None if progress else True  # None: where nobody watches
    with (
        tqdm(total=len(images), desc="decoding", unit="image", disable=hidden, mininterval=0.5) as bar,
        ThreadPoolExecutor(cores(), thread_name_prefix="decode") as pool,
    ):
        starts = iter(range(0, len(images), CHUNK))
        running = {pool.submit(fill, start) for start in islice(starts, 4 * cores())}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for task in done:
                    bar.update(task.result())
                running |= {pool.submit(fill, start) for start in islice(starts, len(done))}
        except BaseException:  # a signal as well: what waits is not begun any more
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if broken:
        raise DatasetError(
            f"{len(broken)} of {len(images)} images cannot be decoded:{listed(sorted(broken))}\n"
            "`python -m datasets.doctor NAME DIR` lists all of them: fetch them again."
        )


def _reserve(file: Path) -> None:
    """Take a file's room on the disk now: a disk found full while writing to mapped memory would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)


def _to_disk(path: Path) -> None:
    """Ask the system to bring a file or folder to the disk before it is renamed."""
    with suppress(OSError):  # not every file system can for folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
