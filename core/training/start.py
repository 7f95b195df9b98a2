"""From settings to a run: begin a new one or take one up again, do it, and leave the folder as it should be."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from duoreid.core.checkpoints import files
from duoreid.core.commands.streams import OutputError
from duoreid.core.contract.learner import MakeLearner
from duoreid.core.contract.processes import check_same, first, together
from duoreid.core.errors import UserError
from duoreid.core.numeric.sharing import Processes
from duoreid.core.settings.config import Config, as_dict
from duoreid.core.training import logs
from duoreid.core.training.pipelines import PIPELINES
from duoreid.core.training.record import Record, free_folder
from duoreid.core.training.resume import finished
from duoreid.core.training.run import OpenDataset, Run
from duoreid.core.training.sharing import check_batches, check_same_processes, how_cut
from duoreid.core.training.snapshot import LAST, History, latest
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
    check_same(processes, json.dumps(as_dict(config), default=files.plain), "their options")
    first(processes, lambda: check_batches(processes, config) or {})
    if config.run.resume and (summary := finished(Path(config.run.resume), config)):
        say(f"{config.run.resume} has finished: see its summary.json. A larger --epochs extends it.")
        return summary
    logs.check_installed(config.run.log)
    current = _open(config, who, make_learner, runtime, say, stop or Stop())
    if current.record.writes:
        current.record.log = logs.opened(config.run.log, current.record.folder, current.record.settings())
    try:
        return PIPELINES[current.spec.pipeline](current, current.checked(open_dataset))
    except KeyboardInterrupt:
        with suppress(OutputError):  # the terminal may be gone, as after SIGHUP
            say(f"interrupted: go on with --resume {current.record.folder}")
        raise
    except Exception:
        if not config.run.resume and not (current.record.folder / LAST).exists():
            current.record.take_back()
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
        try:
            say(f"{config.method} · {who['about']} · preset {config.preset} · seed {config.run.seed} · {record.folder}")
            _warn_of_random_weights(current)
        except Exception:  # where nothing can be said, nothing is begun
            record.take_back()
            raise
        current.history.backends.append({**who, "since": "the start"})
        return current
    try:
        snapshot = latest(record.folder, config, record.settings(), say)
        check_same(processes, str(snapshot and snapshot.position), "the snapshot that they go on from")
        if snapshot:
            check_same_processes(processes, config, snapshot.history.backends)
            current.snapshot = snapshot
    except UserError:
        record.close(forget=True)
        raise
    if snapshot:
        record.go_back(who, snapshot.history, snapshot.file)
    else:
        record.go_back(who, History())
    where = str(snapshot.position) if snapshot else "the start"
    record.line("resumed" if snapshot else "run", **who, since=where)
    current.history.backends.append({**who, "since": where})
    say(f"{config.method} · {who['about']} · {record.folder} goes on from {where}")
    return current


def _warn_of_random_weights(current: Run) -> None:
    """Say once, loudly, that a published recipe begins from nothing: its numbers need ImageNet weights."""
    config = current.config
    published = config.preset and config.preset != current.spec.default_preset
    if published and not config.network.weights and not getattr(config.run, "start", ""):
        current.say(
            f"WARNING: the recipe {config.preset} begins from ImageNet weights, and none are given: the networks begin "
            "from random numbers and will stay far below the published results. Give them with --weights FILE."
        )


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
    return record or Record.follow(Path(folder), config)


def _nothing(text: str) -> None:
    """What a process that is not the first says."""
