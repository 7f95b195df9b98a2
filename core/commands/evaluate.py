"""`python -m backends.NAME.evaluate`: test the networks of a checkpoint on a dataset, beside the published numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from duoreid.core.commands.command import Backend, guarded
from duoreid.core.commands.model_options import ModelOptions, add_fields, add_model_options
from duoreid.core.commands.parsing import Parser, add_help
from duoreid.core.contract.processes import in_turn, together
from duoreid.core.errors import UserError
from duoreid.core.networks.network import check_size
from duoreid.core.numeric.sharing import ALONE, Processes
from duoreid.core.settings.config import DataConfig, validate

if TYPE_CHECKING:
    from duoreid.core.checkpoints.trained import Trained
    from duoreid.core.data import OpenData
    from duoreid.core.openset import Identification
    from duoreid.core.protocols import SearchResult

DATA = ("data", "size", "data_seed", "height", "width", "interpolation", "camera_pattern", "draws", "cache")
"""Settings of the data that the command line may change; others are given by other options."""

OpenDataset = Callable[..., Any]
Published = dict[str, dict[str, tuple[float, float]]]
COLUMNS = {"mAP": "mean_ap", "rank-1": "rank1", "rank-5": "rank5", "rank-10": "rank10", "mINP": "mean_inp"}
NOBODY = {"TPIR at 1%": 0.01, "TPIR at 10%": 0.1}
ABOUT_NOBODY = (
    "TPIR at 1%: of the searches with a match, those that find it first and above the threshold which 1% of the "
    "searches without a match reach; -: too few queries."
)


@dataclass(frozen=True)
class Tested:
    """One network's result of one search. nobody: how well searches without a match are told from others."""

    network: str
    result: SearchResult
    nobody: list[Identification]


@dataclass(frozen=True)
class Subject:
    """What is tested, and by what. trained: its file; its models are not needed. about: framework and hardware.

    networks: (opened dataset, images in a batch) -> the role and the features of each network, float32 (N, D).
    """

    trained: Trained
    about: str
    networks: Callable[[OpenData, int], Iterator[tuple[str, np.ndarray]]]
    processes: Processes = field(default=ALONE)


def evaluate(backend: Backend, open_dataset: OpenDataset, argv: Sequence[str] | None = None, prog: str = "") -> int:
    """Run the command line; return the exit status. prog: how it was called."""
    return guarded(lambda: _evaluate(backend, open_dataset, argv, prog), backend.process_index())


class Computes(Protocol):
    """What computes: a Backend, or onnxruntime. name: of it. runtime: the dataclass of its device options."""

    name: str
    runtime: type


def build(by: Computes, prog: str = "") -> Parser:
    """Return the argument parser."""
    prog = prog or f"python -m backends.{by.name}.evaluate"
    made = Parser(
        prog=prog,
        usage=f"{prog} CHECKPOINT [OPTIONS]",
        description="Test the networks of a checkpoint on a dataset: mAP, CMC and mINP, mean and spread over the "
        "trials, beside the published numbers. Image size and architecture come from the checkpoint.",
        examples=[
            f"{prog} runs/mmt-torch/last.safetensors",
            f"{prog} resnet50.pth --arch resnet50 --dataset market1501 --data /data --height 256 --width 128",
            f"{prog} network.onnx --dataset market1501 --data /data",
        ],
    )
    add_help(made)
    add_model_options(made)
    made.add_argument(
        "--dataset",
        help="dataset to test on: a name, NAME=PATH or a path (default: the target of the checkpoint)",
    )
    made.add_argument(
        "--rerank", action="store_true", help="re-rank by k-reciprocal encoding (Zhong et al., CVPR 2017)"
    )
    made.add_argument(
        "--search",
        default="",
        metavar="NAME",
        help="test these searches alone: all or indoor (SYSU-MM01), visible-to-infrared or infrared-to-visible "
        "(RegDB), or a search's whole name",
    )
    made.add_argument(
        "--shots", default="", metavar="SHOT", help="and of these: single-shot or 10-shot (SYSU-MM01; default: both)"
    )
    made.add_argument("--batch", type=int, default=128, help="images in a batch (default: 128)")
    made.add_argument("--save-features", type=Path, metavar="FILE.npz", help="write what `core.evaluate` reads")
    made.add_argument("--json", action="store_true", help="print JSON instead of a table")
    made.add_argument(
        "--trial", type=int, metavar="N", help="training split (default: the one trained on; RegDB: 1-10)"
    )
    add_fields(made.add_argument_group("data"), [i for i in fields(DataConfig) if i.name in DATA], "the checkpoint's")
    add_fields(made.add_argument_group("device"), fields(by.runtime))
    return made


def _evaluate(backend: Backend, open_dataset: OpenDataset, argv: Sequence[str] | None, prog: str) -> None:
    given, device = options(backend, argv, prog)
    model = ModelOptions.take(given)

    from duoreid.core.serving.opening import is_onnx

    if is_onnx(model.checkpoint):
        raise UserError(f"{model.checkpoint} is run by onnxruntime alone: duoreid evaluate {model.checkpoint}.")

    from duoreid.core.checkpoints.trained import open_trained

    size = (given["height"], given["width"])
    trained = open_trained(model.checkpoint, model.network, model.arch, model.stem_relu, size)
    trained = replace(trained, config=replace(trained.config, data=data_settings(trained, given)))
    tested_on(trained, given)
    runtime = backend.open_runtime(device)

    def networks(opened: OpenData, batch: int) -> Iterator[tuple[str, np.ndarray]]:
        return embeddings(trained, opened, backend, runtime, batch)

    test(Subject(trained, backend.about(runtime), networks, runtime.processes), open_dataset, given)


def options(by: Computes, argv: Sequence[str] | None, prog: str) -> tuple[dict[str, Any], Any]:
    """Return (what the command line gives, the device options)."""
    given = vars(build(by, prog).parse_args(argv))
    if given["batch"] < 1:
        raise UserError(f"--batch must be at least 1, got {given['batch']}")
    device = replace(by.runtime(), **_given(given, by.runtime))
    validate(device)
    return given, device


def tested_on(trained: Trained, given: dict[str, Any]) -> str:
    """Return the name of the dataset to test on; UserError where neither the options nor the file say it."""
    from duoreid.core.methods.registry import spec_of

    if given["dataset"]:
        return given["dataset"]
    if not trained.known:
        raise UserError(f"{trained.path} does not say what it was trained for: give --dataset.")
    return getattr(trained.config.data, spec_of(trained.config.method).datasets[-1])


def test(subject: Subject, open_dataset: OpenDataset, given: dict[str, Any]) -> None:
    """Test on the dataset that the options name, and print the result."""
    from duoreid.core.commands.feature_files import save
    from duoreid.core.methods.registry import spec_of
    from duoreid.core.protocols import evaluate as score
    from duoreid.core.protocols import require_matches, require_trial
    from duoreid.core.searches import chosen, open_set
    from duoreid.core.settings.unused import unused_options

    trained, processes, data = subject.trained, subject.processes, subject.trained.config.data
    name, trained_on = (
        tested_on(trained, given),
        [getattr(data, one) for one in spec_of(trained.config.method).datasets],
    )
    trial = given["trial"] or trained.trial or next(iter(getattr(data, "trials", ())), 1)
    opened: OpenData = in_turn(processes, lambda: open_dataset(name, data, trial))
    dataset = opened.dataset
    unused = unused_options(replace(DataConfig("data"), **_given(given, DataConfig)), [dataset])
    if given["trial"] is not None and not dataset.trial:
        raise UserError(f"{dataset.name} has one training split: leave --trial {given['trial']} out.")
    for known in trained_on if trained.trial and dataset.trial else ():
        require_trial(dataset, dataset.name if _plain(known) == _plain(dataset.name) else known, trained.trial)
    if not dataset.searches and not given["save_features"]:
        raise UserError(
            f"{dataset.name} has no labels to test by. --save-features FILE.npz writes the features of its images and "
            "the names of their files; `duoreid embed` does so for any folder."
        )
    if not len(dataset.test):  # a heap of unlabelled images, which a reader counts as training images
        dataset = replace(dataset, test=dataset.train)
        opened = replace(opened, dataset=dataset, test=opened.train)
    if given["search"] or given["shots"]:
        dataset = replace(dataset, searches=chosen(dataset, given["search"] or "every", given["shots"]))
    require_matches(dataset)
    tested: list[Tested] = []
    for role, features in subject.networks(opened, given["batch"]):
        if processes.index:
            continue  # the first tests, prints and writes
        results = score(features, dataset, rerank=given["rerank"])
        nobody = [open_set(features, dataset, search) for search in dataset.searches]
        tested += [Tested(role, result, rates) for result, rates in zip(results, nobody, strict=True)]
        if given["save_features"]:
            save(given["save_features"], role if len(trained.models) > 1 else "", features, dataset)
    if processes.index:
        return
    facts = {
        "checkpoint": str(trained.path),
        "dataset": dataset.name,
        "images": [data.height, data.width],
        "rerank": given["rerank"],
        "on": subject.about,
        "remarks": [
            *unused,
            *dataset.remarks,
            *dict.fromkeys(search.remark for search in dataset.searches if search.remark),
        ],
    }
    beside = {search.name: published(trained, dataset.name, search.name) for search in dataset.searches}
    print(_json(facts, tested, beside) if given["json"] else _text(facts, tested, beside, trained.report))


def embeddings(
    trained: Trained, opened: OpenData, backend: Backend, runtime: Any, batch: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (role, features float32 (N, D) of the test images, or of its tracklets) for each network."""
    from tqdm import tqdm

    from duoreid.core.tracklets import embed_test

    processes, learner, built = runtime.processes, None, None
    for role, model in trained.models.items():
        if learner is None or model.config != built:
            learner, built = together(backend.make_learner, processes)(model.config, runtime, 0), model.config
        learner.import_state(model.state)
        bar = partial(tqdm, desc=f"embedding, {role}", unit="batch", disable=None, leave=False)
        yield role, embed_test(learner, opened, batch, bar if processes.size == 1 else lambda chunks: chunks)[0]


def _given(given: dict[str, Any], section: type) -> dict[str, Any]:
    return {item.name: given[item.name] for item in fields(section) if given.get(item.name) is not None}


def data_settings(trained: Trained, given: dict[str, Any]) -> DataConfig:
    """Return the checkpoint's data settings with those of the command line over them."""
    changed = {name: given[name] for name in DATA if given[name] is not None}
    missing = [name for name in ("height", "width") if name not in changed]
    if not (trained.known or trained.sized) and missing:
        raise UserError(
            f"{trained.path} does not say the size of its images: give --height and --width, such as --height 256 "
            "--width 128."
        )
    data = replace(trained.config.data, **changed)
    validate(data)
    known = trained.config.data
    check_size(trained.config.network, (known.height, known.width), (data.height, data.width))
    return data


def _plain(name: str) -> str:
    return re.sub(r"\W|_", "", name).lower()


def published(trained: Trained, dataset: str, search: str) -> dict[str, tuple[float, float]]:
    """Return the published (mAP, rank-1) in percent of such networks in this search, by who published them."""
    from duoreid.core.data import name_of
    from duoreid.core.methods.registry import spec_of

    spec = spec_of(trained.config.method)
    if not trained.known or (trained.adapted and name_of(getattr(trained.config.data, spec.datasets[-1])) != dataset):
        return {}
    return spec.published(trained.config, dataset, search, trained.adapted)


def _text(facts: dict[str, Any], tested: Sequence[Tested], beside: Published, report: str) -> str:
    from duoreid.core.training.tables import table

    rows = []
    for search in dict.fromkeys(one.result.name for one in tested):
        tests = [one for one in tested if one.result.name == search]
        rows += [[one.network, search, str(len(one.result.trials)), *_cells(one)] for one in tests]
        for source, numbers in beside[search].items():
            shown = [f"{number:.1f}" for number in numbers]
            rows.append([f"published, {source}", search, "", *shown, *[""] * (len(COLUMNS) + len(NOBODY) - len(shown))])
    lines = [report] if report else []
    height, width = facts["images"]
    how = ", re-ranked" if facts["rerank"] else ""
    lines.append(f"{facts['checkpoint']} on {facts['dataset']}, images {height}x{width}{how} · {facts['on']}")
    if rows:
        lines += ["", table(("", "search", "trials", *COLUMNS, *NOBODY), rows)]
        lines.append(ABOUT_NOBODY + (" It is of the plain similarities, not re-ranked." if facts["rerank"] else ""))
    if not all(one.result.official for one in tested):
        lines.append("The draws of the gallery are not the dataset's own but made from a seed.")
    lines += facts["remarks"]
    return "\n".join(lines)


def _cells(one: Tested) -> list[str]:
    from duoreid.core.training.tables import spread_cell

    known = {identification.fpir: f"{100 * identification.tpir:.1f}" for identification in one.nobody}
    return [spread_cell(one.result, field) for field in COLUMNS.values()] + [
        known.get(rate, "-") for rate in NOBODY.values()
    ]


def _json(facts: dict[str, Any], tested: Sequence[Tested], beside: Published) -> str:
    results = [
        {
            "network": one.network,
            **asdict(one.result),
            "open_set": [asdict(identification) for identification in one.nobody],
        }
        for one in tested
    ]
    published = {
        search: {
            source: {"mean_ap": round(mean_ap / 100, 6), "rank1": round(rank1 / 100, 6)}
            for source, (mean_ap, rank1) in sources.items()
        }
        for search, sources in beside.items()
    }
    return json.dumps({**facts, "results": results, "published": published}, indent=2)
