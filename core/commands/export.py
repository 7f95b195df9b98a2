"""`python -m backends.NAME.export`: a model of a checkpoint as a file for use elsewhere, run before it is kept.

The model is one network, or all networks of a method whose feature they make together (MVD).

A program takes images and returns L2-normalised features; the number of images is free, their size is fixed. Files of
tensors (safetensors, npz, ckpt) hold the network's tensors and are read back for the same check.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duoreid.core import filesystem
from duoreid.core.commands.command import Backend, guarded
from duoreid.core.commands.model_options import ModelOptions, add_model_options
from duoreid.core.commands.parsing import Parser, add_help
from duoreid.core.errors import UserError
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.images import DEVIATION, MEAN, standardise
from duoreid.core.networks.network import check_size
from duoreid.core.random import rng
from duoreid.core.serving import description
from duoreid.core.serving.description import NORMALISED, RAW
from duoreid.core.settings.config import LearnerConfig, as_dict

if TYPE_CHECKING:
    from duoreid.core.checkpoints.trained import Trained

LIMIT = 1e-4
"""Largest difference of a feature's component from the original's; features have length 1."""

TRACED, CHECKED = 2, (5, 1)
"""Images in the batch that a program is traced with, and in those it is checked with."""


@dataclass(frozen=True)
class Request:
    """What to export.

    config: of the model. tensors: by canonical name, under their roles in a joint model. raw: the program takes uint8
    (B, H, W, 3) and normalises them itself; otherwise float32 (B, 3, H, W) with ImageNet's mean and deviation removed.
    texts: what a format that has room for metadata says of the model (core/serving/description.py).
    """

    config: LearnerConfig
    tensors: dict[str, np.ndarray]
    height: int
    width: int
    raw: bool
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def joint(self) -> bool:
        """Whether several networks make the feature together."""
        return spec_of(self.config.method).joint

    def example(self, count: int) -> np.ndarray:
        """Return a batch of the form that the program takes."""
        images = pictures(count, self.height, self.width)
        return images if self.raw else normalised(images)


@dataclass(frozen=True)
class Format:
    """How a backend writes one format.

    suffix: of the file. write: (request, path) -> None. run: (path, images) -> features of the written program; None
    for a file of tensors, which is read back instead.
    """

    suffix: str
    write: Callable[[Request, Path], None]
    run: Callable[[Path, np.ndarray], np.ndarray] | None = None


def pictures(count: int, height: int, width: int) -> np.ndarray:
    """Draw images uint8 (count, H, W, 3) of coarse patches: unlike noise they excite the first filters differently."""
    patches = rng(0, "export").integers(0, 256, (count, -(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return np.ascontiguousarray(patches.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width])


def normalised(images: np.ndarray) -> np.ndarray:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), ImageNet's mean and deviation removed."""
    return standardise(images, np.float32)


def export(
    backend: Backend,
    programs: Mapping[str, str],
    load: Callable[[str], Format],
    argv: Sequence[str] | None = None,
    prog: str = "",
) -> int:
    """Run the command line; return the exit status. prog: how it was called.

    programs: formats that only this backend writes, with a line of help each. load: format -> how it is written; called
    after the options are known, so that it may import the framework.
    """
    return guarded(lambda: _export(backend, programs, load, argv, prog), backend.process_index())


def build(backend: Backend, programs: Mapping[str, str], prog: str = "") -> Parser:
    """Return the argument parser."""
    prog = prog or f"python -m backends.{backend.name}.export"
    made = Parser(
        prog=prog,
        usage=f"{prog} CHECKPOINT --format FORMAT --output FILE [OPTIONS]",
        examples=[f"{prog} runs/mmt-torch/last.safetensors --format npz --output network.npz"],
        description="Export one network of a checkpoint: images in, L2-normalised features out, any number of images. "
        f"The file is run beside the original before it is kept; a difference above {LIMIT:g} is an error.",
    )
    add_help(made)
    add_model_options(made, "the first that embeds")
    known = {**programs, "safetensors": "the network's tensors, verified", "npz": "the network's tensors for NumPy"}
    text = "; ".join(f"{name}: {line}" for name, line in known.items())
    made.add_argument("--format", required=True, choices=tuple(known), help=text)
    made.add_argument("--output", required=True, type=Path, metavar="FILE", help="file to write")
    made.add_argument(
        "--input",
        choices=(RAW, NORMALISED),
        help="what a program takes; uint8: images (B, H, W, 3), normalised inside; normalised: float32 (B, 3, H, W) "
        f"with mean {MEAN} and deviation {DEVIATION} removed (default: uint8)",
    )
    made.add_argument("--height", type=int, help="image height (default: the checkpoint's)")
    made.add_argument("--width", type=int, help="image width (default: the checkpoint's)")
    return made


def _export(
    backend: Backend,
    programs: Mapping[str, str],
    load: Callable[[str], Format],
    argv: Sequence[str] | None,
    prog: str,
) -> None:
    given = vars(build(backend, programs, prog).parse_args(argv))
    model = ModelOptions.take(given)
    if backend.process_index():  # in a job of several, one exports; its launcher waits for the others to have joined
        backend.open_runtime(backend.runtime())
        return

    from duoreid.core.checkpoints.trained import open_trained

    size = (given["height"], given["width"])
    trained = _sized(open_trained(model.checkpoint, model.network, model.arch, model.stem_relu, size), given)
    name, data = trained.one(model.network), trained.config.data
    chosen = trained.models[name]
    form = TENSORS[given["format"]](trained, name) if given["format"] in TENSORS else load(given["format"])
    if form.run is None and given["input"]:
        raise UserError(f"--input has no meaning for --format {given['format']}, which holds tensors and no program.")
    if given["output"].suffix != form.suffix:
        raise UserError(f"--output {given['output']}: a file of --format {given['format']} must end in {form.suffix}.")
    raw = given["input"] != NORMALISED
    texts = description.as_texts(replace(description.describe(trained, name), input=RAW if raw else NORMALISED))
    request = Request(chosen.config, chosen.tensors(), data.height, data.width, raw, texts)
    worst = write_checked(request, form, given["output"], trained, name, backend)
    size = given["output"].stat().st_size / 1e6
    takes = (
        f"{RAW} (batch, {data.height}, {data.width}, 3)" if raw else f"float32 (batch, 3, {data.height}, {data.width})"
    )
    what = f"takes {takes}, " if form.run else ""
    others = "" if len(trained.models) == 1 else f", the first of {', '.join(trained.models)} (--network chooses),"
    print(
        f"{name} of {trained.path}{others} -> {given['output']} ({given['format']}, {size:.1f} MB): {what}largest "
        f"difference from the original {worst:.1e} (limit {LIMIT:g}) on batches of {' and '.join(map(str, CHECKED))}"
    )


def _sized(trained: Trained, given: Mapping[str, Any]) -> Trained:
    changed = {name: given[name] for name in ("height", "width") if given[name] is not None}
    if any(value < 16 for value in changed.values()):
        raise UserError(f"images of at least 16 pixels a side expected, got {changed}")
    if not (trained.known or trained.sized) and len(changed) < 2:
        raise UserError(f"{trained.path} does not say the size of its images: give --height and --width.")
    known = trained.config.data
    data = replace(known, **changed)
    check_size(trained.config.network, (known.height, known.width), (data.height, data.width))
    return replace(trained, config=replace(trained.config, data=data))


def write_checked(request: Request, form: Format, output: Path, trained: Trained, name: str, backend: Backend) -> float:
    """Write the file, run it, and put it in its place; return the largest difference. What failed leaves no file."""
    runtime = backend.open_runtime(backend.runtime())
    model = trained.models[name]
    learner = backend.make_learner(model.config, runtime, 0)
    learner.import_state(model.state)
    images = [pictures(count, request.height, request.width) for count in CHECKED]
    expected = [learner.embed([batch])[0] for batch in images]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        filesystem.sweep(output.parent, "export")
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=filesystem.temporary_name("export")) as folder:
            written = Path(folder) / f"network{form.suffix}"
            form.write(request, written)
            written.chmod(0o644)
            worst = 0.0
            for batch, feature in zip(images, expected, strict=True):
                exported = _features(request, form, written, batch, learner)
                if exported.shape != feature.shape or not np.isfinite(exported).all():
                    raise UserError(f"the exported network returns {exported.shape}, expected finite {feature.shape}")
                worst = max(worst, float(np.abs(exported - feature).max()))
            if not worst <= LIMIT:
                raise UserError(f"the exported network differs by {worst:.1e} from the original, more than {LIMIT:g}")
            filesystem.replace(written, output)
    except OSError as error:
        raise UserError(f"{output} could not be written: {error.strerror}.") from error
    return worst


def _features(request: Request, form: Format, path: Path, images: np.ndarray, learner: Any) -> np.ndarray:
    if form.run is not None:
        return form.run(path, images if request.raw else normalised(images))

    from duoreid.core.checkpoints.trained import open_trained

    network = request.config.network
    size = (request.height, request.width)
    again = open_trained(path, arch=network.arch, stem_relu=network.stem_relu, size=size)
    learner.import_state(next(iter(again.models.values())).state)
    return learner.embed([images])[0]


def _safetensors(trained: Trained, name: str) -> Format:
    from duoreid.core.checkpoints import files as checkpoint

    metadata = {"config": as_dict(trained.config), "network": name, "adapted": trained.adapted, "trial": trained.trial}
    if threshold := description.describe(trained, name).threshold:
        metadata["threshold"] = threshold
    return Format(".safetensors", lambda request, path: checkpoint.save(path, request.tensors, metadata))


def _npz(trained: Trained, name: str) -> Format:
    return Format(".npz", lambda request, path: np.savez(path, **request.tensors))


TENSORS = {"safetensors": _safetensors, "npz": _npz}
"""Formats that need no framework."""
