"""A whole run: stage 1 on the source, stage 2 on the target, tests before and after, and the final table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.checkpoints import weights
from duoreid.core.contract.learner import MakeLearner
from duoreid.core.contract.processes import (
    Processes,
    check_batches,
    check_same,
    check_same_processes,
    first,
    how_cut,
    together,
)
from duoreid.core.contract.state import capacity_of, check_state, network, overlay
from duoreid.core.errors import UserError
from duoreid.core.methods import pseudo_labels
from duoreid.core.methods.adaptation import Adaptation
from duoreid.core.methods.roles import roles
from duoreid.core.methods.source import Source
from duoreid.core.protocols import require_matches
from duoreid.core.random import network_seed
from duoreid.core.settings.config import Config, as_dict
from duoreid.core.settings.published import published
from duoreid.core.training import tables as report
from duoreid.core.training.loop import EpochReport
from duoreid.core.training.pipelines import visible_infrared
from duoreid.core.training.record import Follower, Record, free_folder
from duoreid.core.training.resume import finished
from duoreid.core.training.run import OpenData, OpenDataset, Run
from duoreid.core.training.snapshot import latest
from duoreid.core.training.stop import Stop


def run(
    config: Config,
    runtime: Any,
    *,
    backend: str,
    about: str,
    options: Any,
    make_learner: MakeLearner,
    open_dataset: OpenDataset,
    say: Callable[[str], None] = print,
    stop: Stop | None = None,
) -> dict[str, Any]:
    """Do what the configuration says and return the summary that is also written to summary.json.

    With run.resume the run in that folder goes on from its last snapshot, exactly as if nothing had happened.
    """
    processes = runtime.processes
    who = {"backend": backend, "about": about, "runtime": vars(options), "processes": processes.size}
    if processes.index:
        say = _nothing
    check_same(processes, json.dumps(as_dict(config), default=checkpoint.plain), "their options")
    first(processes, lambda: check_batches(processes, config) or {})
    if config.run.resume and (summary := finished(Path(config.run.resume), config)):
        say(f"{config.run.resume} has finished: see its summary.json. A larger --epochs extends it.")
        return summary
    current = _open(config, who, make_learner, runtime, say, stop or Stop())
    try:
        return _run(current, current.checked(open_dataset))
    except KeyboardInterrupt:
        say(f"interrupted: go on with --resume {current.record.folder}")
        raise
    finally:
        current.record.close()


def _open(
    config: Config,
    who: dict[str, Any],
    make_learner: MakeLearner,
    runtime: Any,
    say: Callable[[str], None],
    stop: Stop,
) -> Run:
    """Begin a new run, or take one up again at its last snapshot."""
    processes = runtime.processes
    make_learner = together(make_learner, processes)
    record = _record(config, who, processes)
    if processes.size > 1:
        say(how_cut(processes, config))
    current = Run(config, make_learner, runtime, record, say, stop, processes=processes)
    if not config.run.resume:
        say(f"{config.method} · {who['about']} · preset {config.preset} · seed {config.run.seed} · {record.folder}")
        current.backends.append({**who, "since": "the start"})
        return current
    try:
        snapshot = latest(record.folder, config, record.settings(), say)
        check_same(processes, str(snapshot and snapshot.position), "the snapshot that they go on from")
        if snapshot:
            check_same_processes(processes, config, snapshot.past.backends)
            current.take_up(snapshot)
    except UserError:
        record.close()
        raise
    record.go_back(who, snapshot.past.log if snapshot else [], snapshot.past.elapsed if snapshot else 0.0)
    where = str(snapshot.position) if snapshot else "the start"
    record.line("resumed" if snapshot else "run", **who, since=where)
    current.backends.append({**who, "since": where})
    say(f"{config.method} · {who['about']} · {record.folder} goes on from {where}")
    return current


def _record(config: Config, who: dict[str, Any], processes: Processes) -> Record:
    """Begin or reopen the record: the first process writes and holds it, the others follow."""
    record = None

    def begin() -> dict[str, str]:
        nonlocal record
        if config.run.resume:
            record = Record.reopen(Path(config.run.resume), config)
        else:
            folder = Path(config.run.output or free_folder(Path("runs"), f"{config.method}-{who['backend']}"))
            record = Record.begin(folder, config, who)
        return {"folder": str(record.folder)}

    folder = first(processes, begin)["folder"]
    return record or Follower(Path(folder), config)


def _nothing(text: str) -> None:
    """What a process that is not the first says."""


def _run(current: Run, open_dataset: OpenDataset) -> dict[str, Any]:
    config = current.config
    if config.method == "mvd":
        return visible_infrared.run(current, open_dataset)
    with current.timed("data"):
        source, target = (open_dataset(name, config.data) for name in (config.data.source, config.data.target))
    for role, data in (("source", source), ("target", target)):
        current.say(f"  {role}: {data.dataset.name}, {len(data.train):,} training and {len(data.test):,} test images")
    require_matches(target.dataset)
    if not target.dataset.searches:
        if config.run.select == "test":
            raise UserError(
                f"--select test needs labels to test by, and {config.data.target} has none: use --select last."
            )
        current.say(f"  {config.data.target} has no labels to test by: the networks are trained and saved, not tested")
    if config.method != "source":
        pseudo_labels.check_possible(config.adapt, len(target.train))
    if current.passed(1, len(roles(config.method).students) - 1):
        states = []
    else:
        states = [_stage1(current, source, target, index) for index in range(len(roles(config.method).students))]
    if config.method != "source":
        _stage2(current, target, states)
    return _finish(current)


def _stage1(current: Run, source: OpenData, target: OpenData, index: int) -> dict[str, np.ndarray]:
    """Train or load network `index` of stage 1, test it on the target, and return its tensors."""
    config, seed = current.config, network_seed(current.config.run.seed, index)
    title, name = f"stage 1, network {index + 1}", f"stage1-{index + 1}"
    if current.passed(1, index):
        return network(checkpoint.load(current.record.folder / f"{name}.safetensors")[0], "student")
    adapted = target.training_set() if config.pretrain.adapt_batch_norm else None
    method = Source(config, seed, source.training_set(), adapted)
    settings = method.learner_config()
    learner = current.make_learner(settings, current.runtime, seed)
    if config.run.start:
        path = Path(config.run.start) / f"{name}.safetensors"
        state, _ = checkpoint.load(path)
        check_state(state, replace(settings, capacity=capacity_of(state, settings)), str(path))
        learner.import_state(state)
        current.say(f"{title} · read from {config.run.start}")
    else:
        if config.network.weights and not current.within(1, index):
            tensors, imported = weights.load(config.network.weights, settings, capacity=settings.capacity)
            learner.import_state(learner.export_state() | {f"student.{name}": value for name, value in tensors.items()})
            current.say(f"{title} · {imported}")

        def after(epoch: EpochReport) -> None:
            current.log_epoch(title, epoch, method.schedule.epochs)
            current.spend(title, epoch.label_seconds + epoch.train_seconds)

        current.train(method, learner, after, stage=1, network=index, title=title)
        current.record.save(name, learner.export_state(), stage=1, epoch=method.schedule.epochs)
    current.test(learner, target, [f"source only, network {index + 1}"])
    return network(learner.export_state(), "student")


def _stage2(current: Run, target: OpenData, states: list[dict[str, np.ndarray]]) -> None:
    """Adapt to the target, starting students and their teachers from the networks of stage 1."""
    config = current.config
    method = Adaptation(config, target.training_set(), current.processes)
    learner = current.make_learner(method.learner_config(), current.runtime, config.run.seed)
    if states:
        learner.import_state(overlay(learner.export_state(), config.method, states))
    names = [role.replace("teacher", "teacher ") for role in roles(config.method).embedders]

    def after(epoch: EpochReport) -> None:
        done = epoch.epoch + 1
        current.log_epoch(config.method, epoch, method.schedule.epochs)
        current.spend("labelling", epoch.label_seconds)
        current.spend("adaptation", epoch.train_seconds)
        due = done % config.run.evaluate_every == 0 or done == method.schedule.epochs
        if not due or not target.dataset.searches:
            return
        metrics = current.test(learner, target, [f"epoch {done}, {name}" for name in names], epoch)
        score = max(found.mean_ap for found in metrics)
        if config.run.select == "test" and score > current.best:
            current.best = score
            current.say(f"  best so far ON THE TARGET'S TEST LABELS (--select test): mAP {100 * score:.1f}")
            current.record.save("best", learner.export_state(), stage=2, epoch=done, selected_on="target test labels")

    current.train(method, learner, after, stage=2, title=config.method)


def _finish(current: Run) -> dict[str, Any]:
    """Print the tables, write the summary and return it."""
    config = current.config
    if not current.rows:
        current.say("\n" + report.stages(current.seconds) + f"\nRun: {current.record.folder}")
        summary = {"rows": [], "stage_seconds": current.seconds, "backends": current.backends}
        current.record.summary(summary)
        return summary
    adapted = config.method != "source"
    beside = [("source only", published(config, adapted=False))]
    if adapted:
        beside.append((config.method, published(config, adapted=True)))
    current.say("\n" + report.results(current.rows, beside))
    current.say("\n" + report.stages(current.seconds))
    networks = len(roles(config.method).students)
    before = _mean_ap(current.rows[:networks])
    summary = {
        "source_only_mean_ap": before,
        "rows": [{"name": row.name, **vars(row.metrics), **row.facts, "seconds": row.seconds} for row in current.rows],
        "stage_seconds": current.seconds,
        "published": dict(beside),
        "backends": current.backends,
    }
    if adapted:
        last = current.rows[-len(roles(config.method).embedders) :]
        summary["final_mean_ap"] = _mean_ap(last)
        first, final = 100 * before, 100 * summary["final_mean_ap"]
        current.say(
            f"\n{config.data.target}: mAP {first:.1f} from the source alone, {final:.1f} after {config.method} "
            f"({final - first:+.1f} points)."
        )
    current.say(f"Run: {current.record.folder}")
    current.record.summary(summary)
    return summary


def _mean_ap(rows: list[report.Row]) -> float:
    return float(np.mean([row.metrics.mean_ap for row in rows]))
