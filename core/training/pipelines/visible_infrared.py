"""A visible-infrared run: one model for each training split, tested in every search, mean and spread over trials."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints import weights
from duoreid.core.contract.learner import Learner
from duoreid.core.contract.state import overlay
from duoreid.core.data import VISIBLE, Chunks, Dataset, Search
from duoreid.core.errors import UserError
from duoreid.core.methods.mvd import MVD
from duoreid.core.methods.roles import roles
from duoreid.core.protocols import SearchResult, across_trials, as_plain, from_plain, require_matches
from duoreid.core.settings.config import Config
from duoreid.core.settings.published import published_searches
from duoreid.core.training import tables as report
from duoreid.core.training.loop import EpochReport
from duoreid.core.training.run import OpenData, OpenDataset, Run

STAGE = 1
COLUMNS = {
    "mAP": "mean_ap",
    "rank-1": "rank1",
    "rank-5": "rank5",
    "rank-10": "rank10",
    "rank-20": "rank20",
    "mINP": "mean_inp",
}


@dataclass(frozen=True)
class Part:
    """The training and testing of one training split. index: from 0; trial: 0 where there is but one split.

    name: of its files and lines.
    """

    index: int
    trial: int
    name: str
    data: OpenData


def run(current: Run, open_dataset: OpenDataset) -> dict[str, Any]:
    """Train and test a model for each of `data.trials`, print the table, and return the summary."""
    with current.timed("data"):
        parts = open_parts(current.config, open_dataset)
    results = across_trials([_part(current, part) for part in parts])
    return _finish(current, parts[0].data.dataset.name, results)


def open_parts(config: Config, open_dataset: OpenDataset) -> list[Part]:
    """Open every training split before the first is trained on, so that a wrong one costs no time.

    A dataset with one training split (SYSU-MM01) is one part, whatever the trials: these are draws of its gallery.
    """
    trials, name = config.data.trials, config.data.dataset
    if not trials or len(set(trials)) != len(trials):
        raise UserError(f"--trials needs one or more different training splits, got {list(trials)}: give e.g. 1 2 3.")
    parts = []
    for index, trial in enumerate(trials):
        data = open_dataset(name, replace(config.data, trials=(trial,)))
        data = replace(data, dataset=replace(data.dataset, searches=chosen(data.dataset, config.mvd.search)))
        require_matches(data.dataset)
        if not data.dataset.trial:
            return [Part(0, 0, "mvd", data)]
        parts.append(Part(index, trial, f"trial {trial}" if len(trials) > 1 else "mvd", data))
    return parts


def chosen(dataset: Dataset, which: str) -> tuple[Search, ...]:
    """Return the searches of a dataset that `--search` asks for; UserError where it has none of them."""

    def direction(search: Search) -> str:
        visible = dataset.test.modalities[search.trials[0].query[0]] == VISIBLE
        return "visible-to-infrared" if visible else "infrared-to-visible"

    found = tuple(
        search
        for search in dataset.searches
        if which in ("every", direction(search)) or search.name.split(",")[0] == which
    )
    if not found:
        names = "; ".join(search.name for search in dataset.searches) or "none"
        raise UserError(
            f"--search {which} is none of the searches of {dataset.name} ({names}): choose one of these, or leave "
            "--search out."
        )
    return found


def _part(current: Run, part: Part) -> list[SearchResult]:
    """Train one model and test it; or, where an interrupted run had finished that, read what it found."""
    config, file = current.config, part.name.replace(" ", "-")
    if current.passed(STAGE, part.index):
        return _read(current, part, file)
    method = MVD(config, part.data.training_set(), seed=config.run.seed)
    learner = current.make_learner(method.learner_config(), current.runtime, config.run.seed)
    _introduce(current, part, method)
    if current.within(STAGE, part.index):
        _check_classes(current, part, method)
    else:
        current.best = -1.0
        _start(current, learner, method)
    epochs, results = method.schedule.epochs, []

    def after(epoch: EpochReport) -> None:
        nonlocal results
        done = epoch.epoch + 1
        current.log_epoch(part.name, epoch, epochs)
        current.spend("training", epoch.label_seconds + epoch.train_seconds)
        if done % config.run.evaluate_every and done != epochs:
            return
        results = measure(current, learner, part, epoch)
        score = float(np.mean([result.mean.mean_ap for result in results]))
        if config.run.select == "test" and score > current.best:
            current.best = score
            current.say(f"  best so far ON THE TEST LABELS (--select test): mAP {100 * score:.1f}")
            found = {"selected_on": "test labels", "trial": part.trial}
            current.record.save(f"{file}-best", learner.export_state(), stage=STAGE, epoch=done, **found)

    current.train(method, learner, after, stage=STAGE, network=part.index, title=part.name)
    results = results or measure(current, learner, part)
    about = {"epoch": epochs, "trial": part.data.dataset.trial, "results": as_plain(results)}
    current.record.save(file, learner.export_state(), stage=STAGE, **about)
    return results


def _introduce(current: Run, part: Part, method: MVD) -> None:
    """Say what is trained on, and who is left out."""
    data = part.data
    current.say(
        f"{part.name} · {data.dataset.name}, {method.classes} identities, {len(data.train):,} training and "
        f"{len(data.test):,} test images, {method.schedule.iterations} iterations an epoch"
    )
    for modality, people in method.left_out.items():
        shown = ", ".join(map(str, people[:10])) + (", ..." if len(people) > 10 else "")
        current.say(f"  left out of training, since only {modality} images show them: {len(people)} ({shown})")


def _start(current: Run, learner: Learner, method: MVD) -> None:
    """Give every branch the weights of `--weights`, where there are any."""
    path = current.config.network.weights
    if path:
        tensors, imported = weights.load(path, method.learner_config(), capacity=method.classes)
        branches = [tensors] * len(roles("mvd").students)
        learner.import_state(overlay(learner.export_state(), "mvd", branches))
        current.say(f"every branch · {imported}")


def _check_classes(current: Run, part: Part, method: MVD) -> None:
    """Raise UserError where the snapshot to go on from knows another number of people than the data."""
    known = int(current.snapshot.state["classes"])
    if known != method.classes:
        raise UserError(
            f"the run in {current.record.folder} trains on {known} identities, but {part.data.dataset.name} now has "
            f"{method.classes} in both modalities: the data has changed and the run cannot go on exactly. Put the "
            "data back, or begin a new run."
        )


def _read(current: Run, part: Part, file: str) -> list[SearchResult]:
    """Return what an interrupted run found for a split that it had finished."""
    _, metadata = checkpoint.load(current.record.folder / f"{file}.safetensors")
    epochs = current.config.mvd.epochs
    if metadata["epoch"] != epochs:
        raise UserError(
            f"{part.name} was trained for {metadata['epoch']} epochs and is finished, so --epochs {epochs} cannot "
            "extend it: only a run of one trial can be extended."
        )
    return from_plain(metadata["results"])


def measure(current: Run, learner: Learner, part: Part, epoch: EpochReport | None = None) -> list[SearchResult]:
    """Test a learner in every chosen search; add the rows to the log."""
    began, data = time.perf_counter(), part.data
    with current.timed("testing"):
        features = learner.embed(Chunks(data.test, current.config.run.evaluate_batch))[0]
        results = current.measured(features, data.dataset)
    spent = epoch.label_seconds + epoch.train_seconds + time.perf_counter() - began if epoch else None
    for result in results:
        name = f"{part.name}, epoch {epoch.epoch + 1}, {result.name}" if epoch else f"{part.name}, {result.name}"
        current.rows.append(report.Row(name, result.mean, {}, spent))
        current.record.line("test", network=part.name, search=result.name, **vars(result.mean))
        current.say(f"  {result.name}: mAP {100 * result.mean.mean_ap:.1f}, rank-1 {100 * result.mean.rank1:.1f}")
    return results


def _finish(current: Run, dataset: str, results: Sequence[SearchResult]) -> dict[str, Any]:
    """Print the tables, write the summary and return it."""
    current.say("\n" + table(dataset, results))
    if not all(result.official for result in results):
        current.say("The draws of the gallery are not the dataset's own but made from a seed.")
    current.say("\n" + report.stages(current.seconds))
    current.say(f"Run: {current.record.folder}")
    summary = {
        "final_mean_ap": float(np.mean([result.mean.mean_ap for result in results])),
        "searches": [
            {
                "name": result.name,
                "official": result.official,
                "mean": vars(result.mean),
                "spread": vars(result.spread),
                "trials": [vars(trial) for trial in result.trials],
                "published": published_searches(dataset, result.name),
            }
            for result in results
        ],
        "rows": [{"name": row.name, **vars(row.metrics), "seconds": row.seconds} for row in current.rows],
        "stage_seconds": current.seconds,
        "backends": current.backends,
    }
    current.record.summary(summary)
    return summary


def table(dataset: str, results: Sequence[SearchResult]) -> str:
    """Return a line for each search, mean ± spread over its trials in percent, published results below each."""
    lines = []
    for result in results:
        cells = [_cell(result, name) for name in COLUMNS.values()]
        lines.append([result.name, *cells, str(len(result.trials))])
        for code, numbers in published_searches(dataset, result.name).items():
            shown = [f"{number:.1f}" for number in numbers]
            lines.append([f"  published, {code}", *shown, *[""] * (len(COLUMNS) + 1 - len(shown))])
    return report.table((f"mvd, {dataset}", *COLUMNS, "trials"), lines)


def _cell(result: SearchResult, name: str) -> str:
    mean, spread = 100 * getattr(result.mean, name), 100 * getattr(result.spread, name)
    return f"{mean:.1f} ± {spread:.1f}" if len(result.trials) > 1 else f"{mean:.1f}"
