"""A run from a labelled source to an unlabelled target: stage 1, stage 2, tests before and after, the final table.

A method may have one of the stages alone (core/methods/spec.py: `stages`): without stage 1 its networks start from
`--weights`, or from drawn numbers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core.checkpoints import files, weights
from duoreid.core.contract.learner import Learner
from duoreid.core.contract.state import capacity_of, check_state, network, overlay
from duoreid.core.data import OpenData
from duoreid.core.errors import UserError
from duoreid.core.methods import pseudo_labels
from duoreid.core.methods.base import Host
from duoreid.core.methods.registry import spec_of
from duoreid.core.methods.source import Source
from duoreid.core.methods.spec import PRETRAIN
from duoreid.core.protocols import require_matches
from duoreid.core.random import network_seed
from duoreid.core.settings.config import SELECTIONS, LearnerConfig
from duoreid.core.settings.presets import presets
from duoreid.core.settings.transfer import ClusterConfig
from duoreid.core.settings.unused import unused_options
from duoreid.core.training import tables
from duoreid.core.training.loop import EpochReport
from duoreid.core.training.pipelines.given import given_weights, load_given
from duoreid.core.training.run import OpenDataset, Run


def run(current: Run, open_dataset: OpenDataset) -> dict[str, Any]:
    """Train through the stages of the method and return the summary."""
    given = given_weights(current.config, len(current.spec.students))
    data = _open(current, open_dataset, given)
    spec, target = current.spec, data[current.spec.datasets[-1]]
    states = []
    if PRETRAIN in spec.stages and not given and not current.passed(1, len(spec.students) - 1):
        states = [_stage1(current, data, target, index) for index in range(len(spec.students))]
    if spec.section != PRETRAIN:
        _stage2(current, data, target, states, given)
    return _finish(current, target)


def _open(current: Run, open_dataset: OpenDataset, given: tuple[str, ...]) -> dict[str, OpenData]:
    """Open every dataset by the name of its field, and refuse at once what would fail after hours.

    given: weights in place of stage 1, beside which the source is not read.
    """
    config, spec = current.config, current.spec
    with current.timed("data"):
        needed = spec.datasets[-1:] if given else spec.datasets
        data = {field: open_dataset(getattr(config.data, field), config.data) for field in needed}
    for field, opened in data.items():
        current.say(f"  {field}: {opened.dataset.name}, {_counts(opened)}")
        for remark in opened.dataset.remarks:
            current.say(f"    {remark}")
        unknown = int((opened.dataset.train.identities < 0).sum())
        if field != spec.datasets[-1] and unknown:
            current.say(
                f"    {unknown:,} of {len(opened.train):,} training images have no identity: stage 1 leaves them out"
            )
    for line in unused_options(config.data, [opened.dataset for opened in data.values()]):
        current.say(f"  {line}")
    usual = presets()[config.preset].data if config.preset in presets() else type(config.data)
    for field in spec.datasets:
        if field not in needed and getattr(config.data, field) != getattr(usual, field, None):
            current.say(f"  --{field} {getattr(config.data, field)} is not used: --start takes the place of stage 1")
    target = data[spec.datasets[-1]]
    if "," in target.dataset.name:
        raise UserError(
            f"--target names several datasets ({target.dataset.name}), expected one to adapt to and test on: give one, "
            "or put the pictures of all into one folder."
        )
    if not len(target.train):
        raise UserError(f"{target.dataset.name} in {target.dataset.root} has no training image to adapt to.")
    require_matches(target.dataset)
    if not target.dataset.searches:
        name = getattr(config.data, spec.datasets[-1])
        if (select := getattr(config.run, "select", "last")) in SELECTIONS:
            raise UserError(f"--select {select} needs labels to test by, and {name} has none: use --select last.")
        current.say(f"  {name} has no labels to test by: the networks are trained and saved, not tested")
    section = getattr(config, spec.section)
    if isinstance(section, ClusterConfig):
        pseudo_labels.check_possible(section, target.dataset.train.units)
    return data


def _counts(opened: OpenData) -> str:
    """Return how much there is to train and to test on, in words."""
    if opened.frames is None or opened.dataset.frames is None:
        return f"{len(opened.train):,} training and {len(opened.test):,} test images"
    training = f"{opened.dataset.train.units:,} training tracklets ({len(opened.train):,} images)"
    return f"{training} and {len(opened.test):,} test tracklets ({len(opened.frames):,} images)"


def _training_sets(data: dict[str, OpenData]) -> dict[str, Any]:
    return {field: opened.training_set() for field, opened in data.items()}


def _stage1(current: Run, data: dict[str, OpenData], target: OpenData, index: int) -> dict[str, np.ndarray]:
    """Train or load network `index` of stage 1, test it on the target, and return its tensors."""
    config, seed = current.config, network_seed(current.config.run.seed, index)
    title, name = f"stage 1, network {index + 1}", f"stage1-{index + 1}"
    if current.passed(1, index):
        return network(files.load(current.record.folder / f"{name}.safetensors")[0], "student")
    host = Source(config, _training_sets(data), seed=seed)
    settings = host.learner_config()
    learner = current.make_learner(settings, current.runtime, seed)
    start = getattr(config.run, "start", ())
    if start:
        path = Path(start[0]) / f"{name}.safetensors"
        state, _ = files.load(path)
        check_state(state, replace(settings, capacity=capacity_of(state, settings)), str(path))
        learner.import_state(state)
        current.say(f"{title} · read from {start[0]}")
    else:
        if not current.within(1, index):
            _import(current, learner, settings, title)

        def after(epoch: EpochReport) -> None:
            current.log_epoch(title, epoch, host.schedule.epochs)
            current.spend(title, epoch.seconds)
            current.period(name, learner, epoch, stage=1)

        current.train(host, learner, after, stage=1, network=index, title=title)
        current.record.save(name, learner.export_state(), stage=1, epoch=host.schedule.epochs)
    current.test(learner, target, [f"source only, network {index + 1}"])
    return network(learner.export_state(), "student")


def _import(current: Run, learner: Learner, settings: LearnerConfig, title: str) -> None:
    """Give the networks of a learner the weights of `--weights`, where there are any."""
    path = current.config.network.weights
    if path:
        tensors, imported = weights.load(path, settings, capacity=settings.capacity)
        roles = spec_of(settings.method).all
        given = {f"{role}.{name}": value for role in roles for name, value in tensors.items()}
        learner.import_state(learner.export_state() | given)
        current.say(f"{title} · {imported}")


def _stage2(
    current: Run,
    data: dict[str, OpenData],
    target: OpenData,
    states: list[dict[str, np.ndarray]],
    given: tuple[str, ...] = (),
) -> None:
    """Adapt to the target, starting students and their teachers from the networks of stage 1, where there are any.

    given: weights files to start from instead, which are tested first.
    """
    config, spec = current.config, current.spec
    host: Host = spec.host(config, _training_sets(data), seed=config.run.seed, processes=current.processes)
    settings, stage = host.learner_config(), current.stage(spec.section)
    learner = current.make_learner(settings, current.runtime, config.run.seed)
    if given and not current.within(stage):
        states = load_given(given, settings, current.say)
    if states:
        learner.import_state(overlay(learner.export_state(), config.method, states))
    elif not spec.pretrains and not current.within(stage):
        _import(current, learner, settings, config.method)
    if given and not current.within(stage):
        current.test(learner, target, [f"as given, network {index + 1}" for index in range(len(spec.embedders))])
    names = [role.replace("teacher", "teacher ") for role in spec.embedders]

    def after(epoch: EpochReport) -> None:
        done = epoch.epoch + 1
        current.log_epoch(config.method, epoch, host.schedule.epochs)
        current.spend("labelling", epoch.label_seconds)
        current.spend("adaptation", epoch.train_seconds)
        current.period("", learner, epoch, stage=stage)
        if not current.due(done, host.schedule.epochs) or not target.dataset.searches:
            return
        metrics = current.test(learner, target, [f"epoch {done}, {name}" for name in names], epoch)
        if current.is_best(metrics, max, "target's test labels"):
            kept = {"stage": stage, "epoch": done, "selected_on": "target test labels"}
            current.record.save("best", learner.export_state(), **kept)

    current.train(host, learner, after, stage=stage, title=config.method)


def _finish(current: Run, target: OpenData) -> dict[str, Any]:
    """Print the tables, write the summary and return it."""
    config, spec, history = current.config, current.spec, current.history
    summary: dict[str, Any] = {
        "rows": [{"name": row.name, **vars(row.metrics), **row.facts, "seconds": row.seconds} for row in history.rows],
        "stage_seconds": history.seconds,
        "backends": history.backends,
    }
    times = tables.stages(history.seconds)
    if not history.rows:
        current.say(f"\n{times}\nRun: {current.record.folder}")
        current.record.summary(summary)
        return summary
    adapted, name = spec.section != PRETRAIN, getattr(config.data, spec.datasets[-1])
    given = given_weights(config, len(spec.students))
    beside = [("source only", _published(current, adapted=False))] if PRETRAIN in spec.stages and not given else []
    if adapted and not given:
        beside.append((config.method, _published(current, adapted=True)))
    current.say("\n" + tables.results(history.rows, beside))
    current.say("\n" + times)
    summary["published"] = dict(beside)
    before = final = None
    if PRETRAIN in spec.stages:
        before = _mean_ap(history.rows[: len(spec.students)])
        summary["given_mean_ap" if given else "source_only_mean_ap"] = before
    if adapted:
        final = summary["final_mean_ap"] = _mean_ap(history.rows[-len(spec.embedders) :])
    for search in target.dataset.searches:
        if search.remark:
            current.say(search.remark)
    current.say(_outcome(name, config.method, before, final, "as given" if given else "from the source alone"))
    current.say(f"Run: {current.record.folder}")
    current.record.summary(summary)
    return summary


def _outcome(name: str, method: str, before: float | None, final: float | None, of: str) -> str:
    """Return the last sentence of a run: mAP in percent before and after. of: whose the first is."""
    if final is None:
        return f"\n{name}: mAP {100 * before:.1f} {of}."
    if before is None:
        return f"\n{name}: mAP {100 * final:.1f} after {method}."
    return (
        f"\n{name}: mAP {100 * before:.1f} {of}, {100 * final:.1f} after {method} "
        f"({100 * (final - before):+.1f} points)."
    )


def _published(current: Run, *, adapted: bool) -> tuple[float, float] | None:
    """Return the published (mAP, rank-1) in percent, None where there is none."""
    dataset = getattr(current.config.data, current.spec.datasets[-1])
    return next(iter(current.spec.published(current.config, dataset, "", adapted).values()), None)


def _mean_ap(rows: list[tables.Row]) -> float:
    return float(np.mean([row.metrics.mean_ap for row in rows]))
