"""`python -m benchmarks.images`: training images per second, ours beside a PIL and torch DataLoader.

Everything makes batches of 64 augmented images of 256 x 128 from the same JPEGs: bicubic resize, flip, pad 10 and crop,
erasing 0.5. The DataLoader applies the usual transforms image by image (written here with PIL and torch as
torchvision writes them, which is not needed by the project) and yields normalised float32. Ours yields uint8, since
normalisation runs on the device; one row normalises on the host too, for a comparison of equal work. "Per core"
divides by the processor time of all threads and processes, so other load on the machine matters little.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageOps

from duoreid.benchmarks.measure import environment
from duoreid.core.checkpoints.files import write_atomically
from duoreid.core.data import Images
from duoreid.core.errors import UserError
from duoreid.core.methods.augmentation import Augmentation, augment
from duoreid.core.networks.images import DEVIATION, MEAN
from duoreid.core.random import rng
from duoreid.core.training.prefetch import prefetch
from duoreid.datasets import open_dataset
from duoreid.datasets.cache import load_images
from duoreid.datasets.images import Decoded, cores
from duoreid.datasets.synthetic import NAMES, generate

HEIGHT, WIDTH, BATCH, PADDING, ERASE = 256, 128, 64, 10, 0.5
AUGMENTATION = Augmentation(flip=0.5, padding=PADDING, erase=ERASE)


@dataclass(frozen=True)
class Measured:
    """images: made. wall, processor: seconds, the latter over all threads and processes."""

    way: str
    images: int
    wall: float
    processor: float

    @property
    def per_core(self) -> float:
        """Images per second of processor time."""
        return self.images / self.processor


def usual_transforms(file: str, generator: np.random.Generator) -> Any:
    """Decode, resize, flip, pad, crop, normalise and erase one image; float32 tensor (3, H, W)."""
    import torch

    with Image.open(file) as opened:
        image = opened.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    if generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = ImageOps.expand(image, PADDING)
    left, top = (int(generator.integers(2 * PADDING + 1)) for _ in range(2))
    image = image.crop((left, top, left + WIDTH, top + HEIGHT))
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
    tensor.sub_(torch.tensor(MEAN)[:, None, None]).div_(torch.tensor(DEVIATION)[:, None, None])
    if generator.random() < ERASE:
        area, aspect = generator.uniform(0.02, 0.4) * HEIGHT * WIDTH, generator.uniform(0.3, 1 / 0.3)
        height, width = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if height < HEIGHT and width < WIDTH:
            top, left = int(generator.integers(HEIGHT - height)), int(generator.integers(WIDTH - width))
            tensor[:, top : top + height, left : left + width] = torch.tensor(MEAN)[:, None, None]
    return tensor


class UsualDataset:
    """Files as a map-style dataset of torch."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> Any:
        return usual_transforms(self.files[row], np.random.default_rng(row))


def data_loader(files: Sequence[str], workers: int) -> Iterator[Any]:
    """Yield batches as most public repositories make them."""
    import torch

    torch.set_num_threads(1)
    yield from torch.utils.data.DataLoader(
        UsualDataset(files), BATCH, shuffle=True, drop_last=True, num_workers=workers
    )


def ours(images: Images, threads: int, normalise: bool = False) -> Iterator[np.ndarray]:
    """Yield augmented uint8 batches, or normalised float32 of the same shape, made ahead by threads."""
    order = rng(0, "benchmark order").permutation(len(images))
    scale = np.tile(np.float32(1 / 255) / np.array(DEVIATION, np.float32), WIDTH)
    shift = np.tile(np.array(MEAN, np.float32) / np.array(DEVIATION, np.float32), WIDTH)

    def make(step: int) -> np.ndarray:
        rows = order[step * BATCH : (step + 1) * BATCH]
        batch = augment(images[rows], AUGMENTATION, rng(0, "benchmark augmentation", 0, step))
        if not normalise:
            return batch
        lines = batch.reshape(-1, WIDTH * 3).astype(np.float32)  # whole lines: NumPy is slow over an axis of 3
        lines *= scale
        lines -= shift
        return lines.reshape(batch.shape)

    return prefetch(make, len(images) // BATCH, threads=threads)


def measure(way: str, batches: Callable[[], Iterator[Any]], seconds: float) -> Measured:
    """Run passes over the data for at least so many seconds, after one pass to warm up."""
    for _ in batches():
        pass
    began, used, images = time.perf_counter(), _processor(), 0
    while time.perf_counter() - began < seconds:
        images += sum(len(batch) for batch in batches())
    return Measured(way, images, time.perf_counter() - began, _processor() - used)


def _processor() -> float:
    """Return the seconds of processor time of this process and of its children that have ended."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def run(name: str, root: str, limit: int, seconds: float, folder: str) -> tuple[list[Measured], dict[str, Any]]:
    """Measure every way on the first images of a dataset's training split."""
    split = open_dataset(name, root).train
    if len(split) < BATCH or split.pixels is not None:
        raise UserError(
            f"{name} in {root} has {len(split)} training images in files of their own: at least {BATCH} are needed."
        )
    rows = slice(0, min(limit, len(split)))
    columns = (split.identities, split.cameras, split.modalities)
    split = type(split)(split.files[rows], *(column[rows] for column in columns))
    decoded = Decoded(split, HEIGHT, WIDTH, "bicubic", threads=1)
    began, used = time.perf_counter(), _processor()
    cached = load_images(split, HEIGHT, WIDTH, folder=folder)
    build = Measured("build the cache, once", len(split), time.perf_counter() - began, _processor() - used)
    alone = "one thread" if cores() == 1 else f"{cores()} threads"
    ways = {
        "PIL + torch DataLoader, 0 workers": lambda: data_loader(split.files, 0),
        f"PIL + torch DataLoader, {cores()} workers": lambda: data_loader(split.files, cores()),
        "ours, decoding on the fly, one thread": lambda: ours(decoded, 1),
        "ours, cached, one thread": lambda: ours(cached, 1),
        f"ours, cached, {alone}": lambda: ours(cached, cores()),
        "ours, cached, one thread, normalised on the host": lambda: ours(cached, 1, normalise=True),
    }
    measured = [build] + [measure(way, batches, seconds) for way, batches in ways.items()]
    facts = {
        "dataset": name,
        "images": len(split),
        "bytes per file": int(np.mean([os.path.getsize(file) for file in split.files])),
        "pillow": PIL.__version__,
    }
    return measured, facts


def report(measured: Sequence[Measured], facts: dict[str, Any]) -> str:
    """Return the table; the last column compares each core's speed with the DataLoader's without workers."""
    base = next(one for one in measured if "0 workers" in one.way).per_core
    lines = [", ".join(f"{name}: {value}" for name, value in facts.items()), ""]
    lines.append(f"{'':<52}{'images/s':>10}{'per core':>10}{'ratio':>8}")
    for one in measured:
        rate, ratio = one.images / one.wall, one.per_core / base
        lines.append(f"{one.way:<52}{rate:>10,.0f}{one.per_core:>10,.0f}{ratio:>7.1f}x")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 and print one message for data that cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.images", description=__doc__)
    parser.add_argument("--dataset", default="synthetic-a", help="any name that datasets.open_dataset knows")
    parser.add_argument("--data", default="data", help="its folder; synthetic sets are generated there when absent")
    parser.add_argument("--images", type=int, default=2048, help="use at most so many training images")
    parser.add_argument("--seconds", type=float, default=5.0, help="measure each way for at least so long")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the numbers to a JSON file")
    options = parser.parse_args(arguments)
    if options.images < BATCH:
        parser.error(f"--images must be at least {BATCH}, the size of a batch, got {options.images}")
    if not 0 < options.seconds < float("inf"):
        parser.error(f"--seconds must be above 0, got {options.seconds}")
    try:
        if options.dataset in NAMES:
            generate(options.dataset, options.data, size="small")
        with tempfile.TemporaryDirectory() as folder:
            measured, facts = run(options.dataset, options.data, options.images, options.seconds, folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report(measured, facts))
    if options.output:
        ways = [asdict(one) | {"per_core": one.per_core} for one in measured]
        command = f"python -m benchmarks.images --dataset {options.dataset}"
        content = {"command": command, "facts": facts, **environment(), "ways": ways}
        write_atomically(options.output, (json.dumps(content, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    import duoreid.benchmarks.images as module

    sys.exit(module.main())
