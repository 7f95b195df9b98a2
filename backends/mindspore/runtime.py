"""Where and how the MindSpore backend computes. Importing this file imports no framework: `--help` stays fast."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from duoreid.core.errors import UserError
from duoreid.core.numeric.slices import set_turns
from duoreid.core.settings.config import option

if TYPE_CHECKING:
    from duoreid.backends.mindspore.processes import Single

TARGETS = {"ascend": "Ascend", "gpu": "GPU", "cpu": "CPU"}
"""Names of devices here and in MindSpore, in the order in which "auto" prefers them."""


@dataclass(frozen=True)
class RuntimeConfig:
    """Device, precision and execution; none of it changes what is computed, only how exactly and how fast."""

    device: str = option(
        "auto",
        "device; auto: ascend where there is one, else gpu, else cpu",
        choices=("auto", "cpu", "gpu", "ascend"),
        everyday=True,
    )
    device_id: int = option(0, "which Ascend or GPU device", least=0)
    precision: str = option(
        "float32",
        "precision of the networks; float64: on the CPU only, slow, for comparisons",
        choices=("float32", "float64"),
        everyday=True,
    )
    mode: str = option(
        "graph",
        "graph: compiled functions; pynative: one operation after the other, for finding faults",
        choices=("graph", "pynative"),
    )
    threads: int = option(0, "CPU threads of the framework; 0: its own choice", least=0, most=1024, everyday=True)


@dataclass(frozen=True)
class Runtime:
    """A RuntimeConfig made real.

    device: "cpu", "gpu" or "ascend". dtype: a mindspore dtype. graph: compiled. processes: of the job.
    """

    device: str
    device_id: int
    dtype: Any
    graph: bool
    processes: Single

    def memory(self) -> int | None:
        """Return the most bytes that tensors took on the device, None on the CPU; the device is not waited for."""
        import mindspore as ms

        return None if self.device == "cpu" else ms.runtime.max_memory_allocated()

    @property
    def name(self) -> str:
        """The hardware, in words, for reports."""
        if self.processes.size > 1:
            return f"{self.processes.size} processes, each on {'CPU' if self.device == 'cpu' else TARGETS[self.device]}"
        return "CPU" if self.device == "cpu" else f"{TARGETS[self.device]} {self.device_id}"


def launched() -> tuple[int, int, int]:
    """Return what msrun's environment says: (index, processes, index on this machine); (0, 1, 0) without
    it.

    msrun's scheduler runs the same command: it counts as a process behind the last.
    """
    role, size = os.environ.get("MS_ROLE"), int(os.environ.get("MS_WORKER_NUM", 1))
    if role == "MS_SCHED":
        return size, size, 0
    if role != "MS_WORKER":
        return 0, 1, 0
    return int(os.environ.get("RANK_ID", 0)), size, int(os.environ.get("DEVICE_ID", 0))


def process_index() -> int:
    """Return this process' number in the job."""
    return launched()[0]


def open_runtime(config: RuntimeConfig) -> Runtime:
    """Select the device; UserError says what is there when the one asked for is not.

    MindSpore selects one device for the life of a process: a second call may only ask for the same one.
    """
    import mindspore as ms

    kind, available, (number, size, local) = config.device, _available(), launched()
    if kind == "auto":
        kind = next(name for name in TARGETS if available[name])
    if size > 1 and kind != "cpu":
        config = _shared_out(config, kind, number, size, local, available[kind])
    if kind == "cpu" and config.device_id:
        raise UserError(
            f"--device-id {config.device_id} has no meaning on the CPU: drop it or use --device ascend or gpu."
        )
    if config.device_id >= available[kind]:
        there = (
            f"{available[kind]} such device(s), numbered from 0" if available[kind] else f"no {TARGETS[kind]} device"
        )
        raise UserError(
            f"--device {kind} --device-id {config.device_id} was asked for, but MindSpore {ms.__version__} finds "
            f"{there}. Use --device cpu, another --device-id, or install MindSpore with its driver for that device."
        )
    if config.precision == "float64" and kind != "cpu":
        raise UserError(f"--precision float64 is for the CPU, got --device {kind}: use float32 there.")
    if config.precision == "float64" and size > 1:
        raise UserError(
            f"--precision float64 was asked for in a job of {size} processes, but MindSpore sends float32 "
            "between them: use --precision float32, or one process."
        )
    set_turns()  # before MindSpore starts its threads
    _set_device(ms, kind, config.device_id)

    from duoreid.backends.mindspore import onednn
    from duoreid.backends.mindspore.processes import Single, join

    processes = join(local) if size > 1 else Single()
    # Compiled functions are marked one by one, with ms.jit: around them everything runs at once.
    ms.set_context(mode=ms.PYNATIVE_MODE)
    if config.threads:
        _set_threads(ms, config.threads)
        onednn.limit(config.threads)
    dtype = ms.float64 if config.precision == "float64" else ms.float32
    return Runtime(kind, config.device_id, dtype, config.mode == "graph", processes)


def _shared_out(config: RuntimeConfig, kind: str, number: int, size: int, local: int, available: int) -> RuntimeConfig:
    """Return the configuration of a process: its device is the one with its number on this machine."""
    if config.device_id:
        raise UserError(
            f"--device-id {config.device_id} was given in a job of several processes, of which each takes the device "
            "with its own number: leave it out."
        )
    if local >= available:
        raise UserError(
            f"this machine has {available} {TARGETS[kind]} device(s), and process {local} of those started on it needs "
            f"one of its own: start at most {available} with msrun --local_worker_num, or train with --device cpu."
        )
    return replace(config, device_id=0 if number == size else local)


_threads: list[int] = []
"""The number of threads that this process has chosen, once it has: MindSpore takes only one."""


def _set_threads(ms: Any, count: int) -> None:
    if not _threads:
        ms.device_context.cpu.op_tuning.threads_num(count)
        _threads.append(count)
    elif _threads != [count]:
        raise UserError(
            f"--threads {count} was asked for, but this process runs MindSpore with {_threads[0]} and cannot change "
            "that: start another one."
        )


def _available() -> dict[str, int]:
    """Return how many devices of each kind there are."""
    from mindspore import device_context

    modules = {"ascend": device_context.ascend, "gpu": device_context.gpu}
    counts = {kind: module.device_count() if module.is_available() else 0 for kind, module in modules.items()}
    return counts | {"cpu": 1}


def _set_device(ms: Any, kind: str, device_id: int) -> None:
    try:
        if kind == "cpu":
            ms.set_device("CPU")
        else:
            ms.set_device(TARGETS[kind], device_id)
    except RuntimeError as error:
        same = kind == "cpu" or ms.get_context("device_id") == device_id
        if same and ms.get_context("device_target") == TARGETS[kind]:
            return  # chosen by whatever ran before in this process: nothing to change
        raise UserError(
            f"MindSpore could not select --device {kind} --device-id {device_id}; a process keeps its first device, "
            f"so start another one where this one has used a different device. MindSpore says: {error}"
        ) from error
