"""`duoreid report RUN`: one HTML file to look at, from a run's folder or from a checkpoint with a dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duoreid.core.commands.command import Backend
from duoreid.core.commands.evaluate import DATA, OpenDataset, data_settings
from duoreid.core.commands.model_options import ModelOptions, add_fields, add_model_options
from duoreid.core.commands.parsing import Parser, add_help
from duoreid.core.errors import UserError
from duoreid.core.settings.config import DataConfig, as_dict, validate

if TYPE_CHECKING:
    from duoreid.core.checkpoints.trained import Trained
    from duoreid.core.data import OpenData
    from duoreid.core.report.gather import Material

Activations = Callable[[Any, np.ndarray], np.ndarray]


def build(backend: Backend, prog: str = "duoreid report") -> Parser:
    """Return the argument parser."""
    made = Parser(
        prog=prog,
        usage=f"{prog} RUN [OPTIONS]",
        description="Write one HTML file that opens without a network: results beside the published ones, curves, "
        "ranked lists, similarities, cameras, a map of the features, pseudo-labels and activation maps.",
        examples=[
            f"{prog} runs/mmt-torch -o report.html",
            f"{prog} resnet50.safetensors --arch resnet50 --dataset market1501 --data /data --height 256 --width 128",
            f"{prog} runs/mmt-torch --records-only",
        ],
    )
    add_help(made)
    add_model_options(made)
    made.add_argument(
        "-o", "--output", type=Path, metavar="FILE.html", help="where to write it (default: RUN/report.html)"
    )
    made.add_argument("--dataset", help="dataset to look at (default: the target that the run was trained for)")
    made.add_argument("--records-only", action="store_true", help="settings and curves only: no network, no images")
    made.add_argument("--map", default="pca", metavar="NAME", help="map of the features: pca, or umap (an extra)")
    made.add_argument("--batch", type=int, default=128, help="images in a batch (default: 128)")
    made.add_argument(
        "--trial", type=int, metavar="N", help="training split (default: the one trained on; RegDB: 1-10)"
    )
    add_fields(made.add_argument_group("data"), [i for i in fields(DataConfig) if i.name in DATA], "the checkpoint's")
    add_fields(made.add_argument_group("device"), fields(backend.runtime))
    return made


def report(backend: Backend, open_dataset: OpenDataset, activations: Activations, words: list[str], prog: str) -> int:
    """Run the command line; return the exit status. activations: see core/report/heat.py."""
    given = vars(build(backend, prog).parse_args(words))
    _check(given)
    from duoreid.core.report import page, sections

    page.require()
    source = Path(given["checkpoint"])
    output = given["output"] or (source / "report.html" if source.is_dir() else source.with_suffix(".html"))
    material = gathered(backend, open_dataset, activations, given, source)
    made, atlas = sections.compose(material)
    size = page.write(made, atlas, output)
    print(f"{output} ({size / 1e6:.1f} MB)")
    return 0


def _check(given: dict[str, Any]) -> None:
    from duoreid.core.errors import unknown
    from duoreid.core.report.mapping import WAYS

    if given["batch"] < 1:
        raise UserError(f"--batch must be at least 1, got {given['batch']}")
    if given["map"] not in WAYS:
        raise unknown("--map", given["map"], WAYS)
    if given["records_only"] and not Path(given["checkpoint"]).is_dir():
        raise UserError(f"--records-only needs the folder of a run, and {given['checkpoint']} is none.")


def gathered(
    backend: Backend, open_dataset: OpenDataset, activations: Activations, given: dict[str, Any], source: Path
) -> Material:
    """Read the records, open networks and dataset, embed, test and label. given: of the command line."""
    from duoreid.core.report import records
    from duoreid.core.report.gather import Material

    known = records.read(source) if source.is_dir() else None
    material = Material(source.resolve().name if source.is_dir() else source.name, records=known)
    if known is not None:
        seed = int(known.settings.get("run", {}).get("seed", 0))
        about = str(known.settings.get("backend", {}).get("about", ""))
        material = replace(material, seed=seed, preset=_preset(known.settings), about=about)
    if given["records_only"]:
        return material
    model = ModelOptions.take(given)
    device = replace(backend.runtime(), **_of(given, backend.runtime))
    validate(device)

    from duoreid.core.checkpoints.trained import open_trained

    size = (given["height"], given["width"])
    trained = open_trained(model.checkpoint, model.network, model.arch, model.stem_relu, size)
    trained = replace(trained, config=replace(trained.config, data=data_settings(trained, given)))
    opened = _opened(trained, open_dataset, given)
    runtime = backend.open_runtime(device)
    return _measured(
        replace(material, about=backend.about(runtime)), trained, opened, backend, runtime, activations, given
    )


def _of(given: dict[str, Any], section: type) -> dict[str, Any]:
    return {item.name: given[item.name] for item in fields(section) if given.get(item.name) is not None}


def _preset(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run's preset, the method's own where it has none, {} for one that is not known."""
    from duoreid.core.commands.options import recipe_of
    from duoreid.core.methods.registry import METHODS
    from duoreid.core.settings.presets import presets

    spec, name = METHODS.get(str(settings.get("method"))), str(settings.get("preset", ""))
    if spec is None or (name and name not in presets()):
        return {}
    return as_dict(recipe_of(spec, presets(), name)) if name else as_dict(spec.recipe())


def _opened(trained: Trained, open_dataset: OpenDataset, given: dict[str, Any]) -> OpenData:
    from duoreid.core.methods.registry import spec_of
    from duoreid.core.protocols import require_matches

    data = trained.config.data
    name = given["dataset"] or (getattr(data, spec_of(trained.config.method).datasets[-1]) if trained.known else None)
    if name is None:
        raise UserError(f"{trained.path} does not say what it was trained for: give --dataset.")
    opened = open_dataset(name, data, given["trial"] or trained.trial or next(iter(getattr(data, "trials", ())), 1))
    require_matches(opened.dataset)
    return opened


def _measured(
    material: Material,
    trained: Trained,
    opened: OpenData,
    backend: Backend,
    runtime: Any,
    activations: Activations,
    given: dict[str, Any],
) -> Material:
    """Embed with every network, test, and label as the run would."""
    from duoreid.core.checkpoints import formats
    from duoreid.core.commands.evaluate import embeddings, published
    from duoreid.core.report.gather import tested, threshold_of

    features = dict(embeddings(trained, opened, backend, runtime, given["batch"]))
    first = trained.models[trained.one()]
    learner = backend.make_learner(first.config, runtime, 0)
    learner.import_state(first.state)
    contents = formats.read(given["checkpoint"])
    labels, words = _labels(
        trained, opened, contents, lambda: _train_features(trained, opened, backend, runtime, given)
    )
    return replace(
        material,
        opened=opened,
        features=features,
        results=tested(features, opened),
        published={one.name: published(trained, opened.dataset.name, one.name) for one in opened.dataset.searches},
        labels=labels,
        labels_words=words,
        threshold=threshold_of(contents.metadata, opened),
        find=lambda images: activations(learner, images),
        way=given["map"],
    )


def _train_features(
    trained: Trained, opened: OpenData, backend: Backend, runtime: Any, given: dict[str, Any]
) -> np.ndarray:
    """Return the features of the training images, or of their tracklets, by every network, float32 (M, N, D)."""
    from duoreid.core.commands.evaluate import embeddings

    frames = None if opened.dataset.train.tracklets is None else opened.dataset.train
    dataset = replace(opened.dataset, frames=frames)
    training = replace(opened, dataset=dataset, test=opened.train, frames=None if frames is None else opened.train)
    return np.stack([rows for _, rows in embeddings(trained, training, backend, runtime, given["batch"])])


def _labels(
    trained: Trained, opened: OpenData, contents: Any, embed: Callable[[], np.ndarray]
) -> tuple[np.ndarray | None, str]:
    """Return (labels of the training images, where they come from): the run's last, else clustered as it would.

    None for a method without pseudo-labels, for a file from elsewhere, and for another dataset than the run's target:
    its labels say nothing of that one.
    """
    from duoreid.core.checkpoints.trained import LABELS
    from duoreid.core.methods import pseudo_labels
    from duoreid.core.methods.registry import spec_of
    from duoreid.core.tracklets import of_images

    spec = spec_of(trained.config.method)
    target = opened.dataset.name == getattr(trained.config.data, spec.datasets[-1])
    if not (spec.pseudo_labels and trained.known and target):
        return None, ""
    kept = contents.tensors.get(LABELS)
    if trained.adapted and kept is not None and len(kept) == len(opened.train):
        return kept.astype(np.int64), "The labels that the last epoch trained on. Who is on the images was not used."
    section = getattr(trained.config, spec.section)
    features = pseudo_labels.average(embed())
    labels, _, _ = pseudo_labels.cluster(
        features, section, seed=trained.config.run.seed, epoch=section.epochs, eps=None
    )
    labels = of_images(opened.dataset.train, labels)
    return labels.astype(np.int64), "The training images clustered anew, by the run's settings and these networks."
