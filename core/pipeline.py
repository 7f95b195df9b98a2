"""A whole run: stage 1 on the source, stage 2 on the target, tests before and after, and the final table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from core import checkpoint, report, weights
from core.config import Config
from core.learner import MakeLearner
from core.loop import EpochReport, train
from core.methods.adaptation import Adaptation
from core.methods.roles import roles
from core.methods.source import Source
from core.published import published
from core.record import Record, free_folder
from core.run import OpenData, OpenDataset, Run
from core.state import network, overlay


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
) -> dict[str, Any]:
    """Do what the configuration says and return the summary that is also written to summary.json."""
    folder = Path(config.run.output) if config.run.output else free_folder(Path("runs"), f"{config.method}-{backend}")
    record = Record(folder, config, {"backend": backend, "about": about, "runtime": vars(options)})
    current = Run(config, make_learner, runtime, record, say)
    say(f"{config.method} · {about} · preset {config.preset} · seed {config.run.seed} · {folder}")
    with current.timed("data"):
        source, target = (open_dataset(name, config.data) for name in (config.data.source, config.data.target))
    for role, data in (("source", source), ("target", target)):
        say(f"  {role}: {data.dataset.name}, {len(data.train):,} training and {len(data.test):,} test images")
    states = [_stage1(current, source, target, index) for index in range(len(roles(config.method).students))]
    if config.method != "source":
        _stage2(current, target, states)
    return _finish(current)


def _stage1(current: Run, source: OpenData, target: OpenData, index: int) -> dict[str, np.ndarray]:
    """Train or load network `index` of stage 1, test it on the target, and return its tensors."""
    config, seed = current.config, current.config.run.seed + index
    adapted = target.training_set() if config.pretrain.adapt_batch_norm else None
    method = Source(config, seed, source.training_set(), adapted)
    learner = current.make_learner(method.learner_config(), current.runtime, seed)
    title, name = f"stage 1, network {index + 1}", f"stage1-{index + 1}"
    if config.run.start:
        state, _ = checkpoint.load(Path(config.run.start) / f"{name}.safetensors")
        learner.import_state(state)
        current.say(f"{title} · read from {config.run.start}")
    else:
        if config.network.weights:
            capacity = method.learner_config().capacity
            tensors, imported = weights.load(config.network.weights, config.network, capacity=capacity)
            learner.import_state(learner.export_state() | {f"student.{name}": value for name, value in tensors.items()})
            current.say(f"{title} · {imported}")

        def after(epoch: EpochReport) -> None:
            current.log_epoch(title, epoch, method.schedule.epochs)
            current.record.save(name, learner.export_state(), stage=1, epoch=epoch.epoch + 1)

        with current.timed(title):
            train(method, learner, after, loss_every=config.run.loss_every, title=title)
    current.test(learner, target, [f"source only, network {index + 1}"])
    return network(learner.export_state(), "student")


def _stage2(current: Run, target: OpenData, states: list[dict[str, np.ndarray]]) -> None:
    """Adapt to the target, starting students and their teachers from the networks of stage 1."""
    config = current.config
    method = Adaptation(config, target.training_set())
    learner = current.make_learner(method.learner_config(), current.runtime, config.run.seed)
    learner.import_state(overlay(learner.export_state(), config.method, states))
    names = [role.replace("teacher", "teacher ") for role in roles(config.method).embedders]
    best = -1.0

    def after(epoch: EpochReport) -> None:
        nonlocal best
        done = epoch.epoch + 1
        current.log_epoch(config.method, epoch, method.schedule.epochs)
        current.spend("labelling", epoch.label_seconds)
        current.spend("adaptation", epoch.train_seconds)
        state = learner.export_state()
        current.record.save("last", state, stage=2, epoch=done, memory=method.memory())
        if done % config.run.evaluate_every and done != method.schedule.epochs:
            return
        metrics = current.test(learner, target, [f"epoch {done}, {name}" for name in names], epoch)
        score = max(found.mean_ap for found in metrics)
        if config.run.select == "test" and score > best:
            best = score
            current.say(f"  best so far ON THE TARGET'S TEST LABELS (--select test): mAP {100 * score:.1f}")
            current.record.save("best", state, stage=2, epoch=done, selected_on="target test labels")

    train(method, learner, after, loss_every=config.run.loss_every, title=config.method)


def _finish(current: Run) -> dict[str, Any]:
    """Print the tables, write the summary and return it."""
    config = current.config
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
