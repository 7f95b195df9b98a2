"""Writing a set to disk: over several processes, bitwise the same for any number of them, whole or not at all."""

from __future__ import annotations

import json
import operator
import os
import re
import shutil
import sys
import time
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from tqdm import tqdm

from duoreid.core.locking import alone
from duoreid.datasets.synthetic.crew import drawn
from duoreid.datasets.synthetic.layouts import plan
from duoreid.datasets.synthetic.worker import draw

MANIFEST = "manifest.json"
IMPORTS = re.compile(rb"(?m)^(?:from|import) [^\n(]*(?:\([^)]*\))?\n")
CHUNK = 50  # images per task
SERIAL = 400  # sets up to this many images are drawn faster without other processes


def generate(
    name: str,
    root: str | os.PathLike[str],
    *,
    size: str = "small",
    seed: int = 0,
    progress: bool = True,
    workers: int | None = None,
    oddities: bool = False,
) -> Path:
    """Make a synthetic set in ROOT/NAME, unless it is there already, and return that folder.

    name: synthetic-a, synthetic-b (Market-1501 layout), synthetic-sysu or synthetic-regdb. size: tiny, small or
    market. seed: of everything; with the same libraries the files are bitwise the same for any number of `workers`
    (default: one per core). oddities: add what real folders hold besides images (Thumbs.db and the like).
    progress: show a bar and the images per second on standard error.

    The set is written beside its place and moved there when whole, its manifest last, so a set that is there is
    complete. One made with the same parameters by the same code is kept; one made otherwise is replaced.
    Raises ValueError for an unknown name or size, a seed that is no integer, fewer than one worker, and for a folder
    in its place that this function did not make.
    """
    try:
        seed = operator.index(seed)
    except TypeError:
        raise ValueError(f"seed must be an integer, not {seed!r}: it is part of what the set is known by") from None
    work = plan(name, size, seed)
    wanted = {
        "maker": "duoreid synthetic",
        "name": name,
        "size": size,
        "seed": seed,
        "oddities": bool(oddities),
        "images": len(work.items),
        "code": code_digest(),
    }
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}: leave it out for one per core")
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    target, partial = root / name, root / f".{name}.partial"
    with alone(root / f".{name}.lock"):
        if _present(target, wanted):
            return target
        shutil.rmtree(partial, ignore_errors=True)
        for folder in sorted({os.path.dirname(path) for path in [*(i.path for i in work.items), *work.texts]}):
            (partial / folder).mkdir(parents=True, exist_ok=True)
        for path, text in work.texts.items():
            (partial / path).write_text(text)
        started = time.perf_counter()
        _draw_all(work.domain, work.items, partial, seed, workers, progress, f"{name} {size}")
        if progress:
            rate = len(work.items) / (time.perf_counter() - started)
            print(f"{name}: {len(work.items)} images, {rate:.0f} images/s", file=sys.stderr)
        if oddities:
            _add_oddities(partial)
        _write_manifest(partial, wanted)
        if target.exists():
            shutil.rmtree(target)
        os.replace(partial, target)
    return target


@lru_cache
def code_digest() -> str:
    """Digest of this package's source without its imports: a set drawn by other code is another set."""
    digest = blake2b(digest_size=8)
    for source in sorted(Path(__file__).parent.glob("*.py")):
        if source.name not in ("__main__.py", "crew.py", "preview.py", "worker.py", "writer.py"):
            digest.update(IMPORTS.sub(b"", source.read_bytes()))
    return digest.hexdigest()


def _present(target: Path, wanted: dict) -> bool:
    """Tell whether `target` holds the wanted set; raise if it holds something that is not ours."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    try:
        manifest = json.loads((target / MANIFEST).read_text())
        ours = manifest["maker"] == wanted["maker"] and manifest["name"] == wanted["name"]
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise ValueError(
            f"{target} exists and holds no {MANIFEST} of a synthetic set {wanted['name']}: it may be somebody's data "
            f"and is left untouched. Choose another root, or move that folder away."
        )
    if manifest != wanted:
        return False
    return sum(1 for _ in target.rglob("*.jpg")) == wanted["images"]


def _draw_all(domain, items, folder: Path, seed: int, workers: int | None, progress: bool, label: str) -> None:
    workers = workers or (1 if len(items) <= SERIAL else _cores())
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    with tqdm(total=len(items), desc=label, unit="image", disable=not progress, mininterval=0.5) as bar:
        if workers == 1 or not sys.executable:  # Python inside another program cannot start another Python
            for chunk in chunks:
                bar.update(draw(domain, chunk, folder, seed))
            return
        for count in drawn(domain, chunks, folder, seed, workers):
            bar.update(count)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _add_oddities(folder: Path) -> None:
    """Add the files that Windows, macOS and people leave between the images of real sets."""
    for place in sorted({path.parent for path in folder.rglob("*.jpg")}):
        (place / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(64))
        (place / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1" + bytes(64))
    (folder / "readme.txt").write_text("A synthetic set with the clutter of a real one.\n")


def _write_manifest(folder: Path, manifest: dict) -> None:
    temporary = folder / f"{MANIFEST}.tmp"
    with temporary.open("w") as stream:
        json.dump(manifest, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, folder / MANIFEST)
