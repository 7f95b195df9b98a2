"""`--log`: what metrics.jsonl says, shown by TensorBoard, Weights & Biases or MLflow as well.

A logger never stops or slows a run: it works in a thread of its own, and one that fails is told once and left out. What
counts is metrics.jsonl. Without `--log` none of these libraries is imported.
"""

from __future__ import annotations

import importlib.util
import queue
import re
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from duoreid.core.errors import UserError

PATIENCE = 10.0
"""Seconds in which a logger may write what is left when the run ends."""


COUNT = "iteration or epoch"
"""What W&B draws a number over: losses over iterations, tests and labels over epochs."""


class Writer(Protocol):
    """Takes numbers by name."""

    def write(self, values: dict[str, float], step: int) -> None: ...
    def close(self) -> None: ...


class Kind(NamedTuple):
    """A logger. library: its package. extra: of this project, that brings it. make: (folder, settings) -> Writer."""

    library: str
    extra: str
    make: Callable[[Path, Mapping[str, Any]], Writer]


class _TensorBoard:
    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name.replace(",", "").replace(" ", "_"), value, step)

    def close(self) -> None:
        self._writer.close()


class _WandB:
    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(project="duoreid", name=folder.name, dir=str(folder), config=dict(settings))
        self._run.define_metric("*", step_metric=COUNT)  # instead of how many lines were sent before

    def write(self, values: dict[str, float], step: int) -> None:
        self._run.log({**values, COUNT: step})

    def close(self) -> None:
        self._run.finish()


class _MLflow:
    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        import mlflow

        self._mlflow = mlflow
        mlflow.start_run(run_name=folder.name)
        mlflow.log_dict(dict(settings), "config.json")

    def write(self, values: dict[str, float], step: int) -> None:
        self._mlflow.log_metrics({name.replace(",", ""): value for name, value in values.items()}, step=step)

    def close(self) -> None:
        self._mlflow.end_run()


KINDS = {
    "tensorboard": Kind("tensorboardX", "tensorboard", _TensorBoard),
    "wandb": Kind("wandb", "wandb", _WandB),
    "mlflow": Kind("mlflow", "mlflow", _MLflow),
}


def check_installed(name: str) -> None:
    """Raise UserError where the library of `--log NAME` is missing: at the start, not after an epoch."""
    if name in KINDS and importlib.util.find_spec(KINDS[name].library) is None:
        kind = KINDS[name]
        raise UserError(
            f"--log {name} needs {kind.library}, which is not installed: pip install 'duoreid[{kind.extra}]', or leave "
            "--log out."
        )


class Log:
    """Hands the lines of a run to a writer, in a thread of its own."""

    def __init__(self, make: Callable[[], Writer], name: str) -> None:
        """make: makes the writer, in the thread: to reach a server may take long. name: of the logger, for messages."""
        self._lines: queue.SimpleQueue[tuple[dict[str, float], int] | None] = queue.SimpleQueue()
        self._make, self._name, self._failed, self._epoch = make, name, False, 0
        self._thread = threading.Thread(target=self._work, name=f"log {name}", daemon=True)
        self._thread.start()

    def line(self, event: str, values: Mapping[str, Any]) -> None:
        """Take a line of metrics.jsonl; returns at once."""
        if event == "epoch":
            self._epoch = values["epoch"] + 1
        numbers, step = scalars(event, values, self._epoch)
        if numbers and not self._failed:
            self._lines.put((numbers, step))

    def close(self) -> None:
        """Let the writer finish, for PATIENCE seconds at most."""
        self._lines.put(None)
        self._thread.join(PATIENCE)

    def _work(self) -> None:
        try:
            writer = None
            while (entry := self._lines.get()) is not None:
                writer = writer or self._make()  # not before there is something: a start that is refused leaves nothing
                writer.write(*entry)
            if writer:
                writer.close()
        except Exception as error:  # noqa: BLE001 (whatever a logger raises, the run goes on)
            self._failed = True
            print(
                f"warning: --log {self._name} has failed and is left out from here on "
                f"({type(error).__name__}: {error}). metrics.jsonl has everything.",
                file=sys.stderr,
            )


def scalars(event: str, values: Mapping[str, Any], epoch: int) -> tuple[dict[str, float], int]:
    """Return (numbers by name, iteration or epoch) of a line of metrics.jsonl; no numbers where it has no results.

    epoch: the last that has ended, from 1.

    >>> scalars("losses", {"stage": "mmt", "iteration": 50, "rate": 0.1, "losses": {"total": 2.0}}, 0)
    ({'mmt/total': 2.0, 'mmt/rate': 0.1}, 50)
    """
    if event == "losses":
        names = {f"{values['stage']}/{name}": value for name, value in values["losses"].items()}
        return names | {f"{values['stage']}/rate": values["rate"]}, values["iteration"]
    if event == "epoch":
        facts = {**values["facts"], "seconds": values["label_seconds"] + values["train_seconds"]}
        return {f"{values['stage']}/{name}": value for name, value in facts.items()}, epoch
    if event == "test":
        name = re.sub(r"^epoch \d+, ", "", values["network"])
        return {f"test/{name}/{key}": values[key] for key in ("mean_ap", "rank1", "mean_inp")}, epoch
    return {}, 0


def opened(name: str, folder: Path, settings: Mapping[str, Any]) -> Log | None:
    """Return the log of `--log NAME`; None for "none"."""
    if name not in KINDS:
        return None
    return Log(lambda: KINDS[name].make(folder, settings), name)
