"""A visible-infrared run: one model for each training split, tested in every search, mean and spread over trials."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core.checkpoints import files, weights
from duoreid.core.checkpoints.layouts_mvd import branches, load_public
from duoreid.core.contract.learner import Learner
from duoreid.core.contract.state import overlay
from duoreid.core.data import Dataset, OpenData
from duoreid.core.errors import UserError
from duoreid.core.methods.mvd import MVD
from duoreid.core.methods.registry import spec_of
from duoreid.core.protocols import SearchResult, across_trials, as_plain, from_plain, require_matches
from duoreid.core.searches import chosen
from duoreid.core.settings.cross_modal import MVDRecipe
from duoreid.core.settings.unused import unused_options
from duoreid.core.training import tables
from duoreid.core.training.loop import EpochReport
from duoreid.core.training.run import OpenDataset, Run

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

    @property
    def file(self) -> str:
        """Name of its checkpoint."""
        return self.name.replace(" ", "-")


def run(current: Run, open_dataset: OpenDataset) -> dict[str, Any]:
    """Train and test a model for each of `data.trials`, print the table, and return the summary."""
    with current.timed("data"):
        parts = open_parts(current.config, open_dataset)
    results = across_trials([_part(current, part) for part in parts])
    return _finish(current, parts[0].data.dataset, results)


def open_parts(config: MVDRecipe, open_dataset: OpenDataset) -> list[Part]:
    """Open every training split before the first is trained on, so that a wrong one costs no time.

    A dataset with one training split (SYSU-MM01) is one part, whatever the trials: these are draws of its gallery.
    """
    trials, name, method = config.data.trials, config.data.dataset, config.method
    section = getattr(config, spec_of(method).section)
    if not trials or len(set(trials)) != len(trials):
        raise UserError(f"--trials needs one or more different training splits, got {list(trials)}: give e.g. 1 2 3.")
    parts = []
    for index, trial in enumerate(trials):
        data = open_dataset(name, config.data, trial)
        data = replace(data, dataset=replace(data.dataset, searches=chosen(data.dataset, section.search)))
        require_matches(data.dataset)
        told = unused_options(config.data, [data.dataset])
        if not data.dataset.trial and len(trials) > 1:
            told.append(f"--trials {' '.join(map(str, trials))} is not used: {name} has one training split.")
        data = replace(data, dataset=replace(data.dataset, remarks=(*data.dataset.remarks, *told)))
        if not data.dataset.trial:
            return [Part(0, 0, method, data)]
        parts.append(Part(index, trial, f"trial {trial}" if len(trials) > 1 else method, data))
    return parts


def _part(current: Run, part: Part) -> list[SearchResult]:
    """Train one model and test it; or, where an interrupted run had finished that, read what it measured."""
    config = current.config
    if current.passed(STAGE, part.index):
        return _read(current, part)
    data = {current.spec.datasets[-1]: part.data.training_set()}
    host: MVD = current.spec.host(config, data, seed=config.run.seed, processes=current.processes)
    learner = current.make_learner(host.learner_config(), current.runtime, config.run.seed)
    _introduce(current, part, host)
    if current.within(STAGE, part.index):
        _check_classes(current, part, host)
    else:
        current.history.best = -1.0
        _start(current, learner, host)
    epochs, results = host.schedule.epochs, []

    def after(epoch: EpochReport) -> None:
        nonlocal results
        done = epoch.epoch + 1
        current.log_epoch(part.name, epoch, epochs)
        current.spend("training", epoch.seconds)
        current.period(part.file, learner, epoch, stage=STAGE, trial=part.trial)
        if not current.due(done, epochs):
            return
        results = measure(current, learner, part, epoch)
        if current.is_best([result.mean for result in results], np.mean, "test labels"):
            kept = {"selected_on": "test labels", "trial": part.trial}
            current.record.save(f"{part.file}-best", learner.export_state(), stage=STAGE, epoch=done, **kept)

    current.train(host, learner, after, stage=STAGE, network=part.index, title=part.name)
    results = results or measure(current, learner, part)
    about = {"epoch": epochs, "trial": part.data.dataset.trial, "results": as_plain(results)}
    current.record.save(part.file, learner.export_state(), stage=STAGE, **about)
    return results


def _introduce(current: Run, part: Part, host: MVD) -> None:
    """Say what is trained on, and who is left out."""
    data = part.data
    current.say(
        f"{part.name} · {data.dataset.name}, {host.classes} identities, {len(data.train):,} training and "
        f"{len(data.test):,} test images, {host.schedule.iterations} iterations an epoch"
    )
    for remark in data.dataset.remarks:
        current.say(f"  {remark}")
    for modality, people in host.left_out.items():
        shown = ", ".join(map(str, people[:10])) + (", ..." if len(people) > 10 else "")
        current.say(f"  left out of training, since only {modality} images show them: {len(people)} ({shown})")


def _start(current: Run, learner: Learner, host: MVD) -> None:
    """Give every branch the weights of `--weights`, where there are any."""
    path = current.config.network.weights
    if not path:
        return
    if public := (load_public(Path(path)) if Path(path).is_file() else None):
        state, report = branches(public, host.learner_config())
        learner.import_state(learner.export_state() | state)
        current.say(f"each branch from its own · {report}")
    else:
        tensors, imported = weights.load(path, host.learner_config(), capacity=host.classes)
        copies = [tensors] * len(current.spec.students)
        learner.import_state(overlay(learner.export_state(), current.config.method, copies))
        current.say(f"every branch · {imported}")


def _check_classes(current: Run, part: Part, host: MVD) -> None:
    """Raise UserError where the snapshot to go on from knows another number of people than the data."""
    known = int(current.snapshot.state["classes"])
    if known != host.classes:
        raise UserError(
            f"the run in {current.record.folder} trains on {known} identities, but {part.data.dataset.name} now has "
            f"{host.classes} in both modalities: the data has changed and the run cannot go on exactly. Put the "
            "data back, or begin a new run."
        )


def _read(current: Run, part: Part) -> list[SearchResult]:
    """Return what an interrupted run measured for a split that it had finished."""
    _, metadata = files.load(current.record.folder / f"{part.file}.safetensors")
    epochs = getattr(current.config, current.spec.section).epochs
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
        results = current.measured(current.embedded(learner, data)[0], data.dataset)
    spent = epoch.seconds + time.perf_counter() - began if epoch else None
    for result in results:
        name = f"{part.name}, epoch {epoch.epoch + 1}, {result.name}" if epoch else f"{part.name}, {result.name}"
        current.note(name, part.name, result, {}, spent)
        current.say(f"  {result.name}: mAP {100 * result.mean.mean_ap:.1f}, rank-1 {100 * result.mean.rank1:.1f}")
    return results


def _finish(current: Run, data: Dataset, results: Sequence[SearchResult]) -> dict[str, Any]:
    """Print the tables, write the summary and return it."""
    history, dataset = current.history, data.name
    beside = {result.name: current.spec.published(current.config, dataset, result.name, True) for result in results}
    current.say("\n" + table(f"{current.config.method}, {dataset}", results, beside))
    if not all(result.official for result in results):
        current.say("The draws of the gallery are not the dataset's own but made from a seed.")
    for remark in dict.fromkeys(search.remark for search in data.searches if search.remark):
        current.say(remark)
    current.say("\n" + tables.stages(history.seconds))
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
                "published": beside[result.name],
            }
            for result in results
        ],
        "rows": [{"name": row.name, **vars(row.metrics), "seconds": row.seconds} for row in history.rows],
        "stage_seconds": history.seconds,
        "backends": history.backends,
    }
    current.record.summary(summary)
    return summary


def table(title: str, results: Sequence[SearchResult], published: dict[str, dict[str, tuple[float, float]]]) -> str:
    """Return a line for each search, mean ± spread over its trials in percent, published results below each.

    published: by search, by code: (mAP, rank-1) in percent.
    """
    lines = []
    for result in results:
        cells = [tables.spread_cell(result, name) for name in COLUMNS.values()]
        lines.append([result.name, *cells, str(len(result.trials))])
        for code, numbers in published[result.name].items():
            shown = [f"{number:.1f}" for number in numbers]
            lines.append([f"  published, {code}", *shown, *[""] * (len(COLUMNS) + 1 - len(shown))])
    return tables.table((title, *COLUMNS, "trials"), lines)
