"""Where and how the torch backend computes. Importing this file imports no framework: `--help` stays fast."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from duoreid.core.errors import UserError
from duoreid.core.settings.config import option

if TYPE_CHECKING:
    import torch

    from duoreid.backends.torch.processes import Single

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RuntimeConfig:
    """Device, precision and execution; none of it changes what is computed, only how exactly and how fast."""

    device: str = option(
        "auto", "device; auto: cuda where there is one, else cpu", choices=("auto", "cpu", "cuda"), everyday=True
    )
    device_id: int = option(0, "which CUDA device", least=0)
    precision: str = option(
        "float32",
        "precision of the networks; bfloat16: autocast with float32 weights, on CUDA only",
        choices=("float32", "bfloat16", "float64"),
        everyday=True,
    )
    threads: int = option(0, "CPU threads of the framework; 0: its own choice", least=0, most=1024, everyday=True)
    compile: bool = option(False, "compile the forward passes with torch.compile")
    graph: bool = option(True, "replay training steps as CUDA graphs; where one process trains and without --compile")
    triton: bool = option(True, "batch norm, ReLU and sum in one kernel in training on CUDA; without --compile")
    deterministic: bool = option(False, "the same bits from every run on one CUDA device, as on the CPU; slower")


@dataclass(frozen=True)
class Runtime:
    """A RuntimeConfig made real.

    autocast: networks compute in bfloat16; weights stay in `dtype`. graph: steps are CUDA graphs. processes: of the
    job. triton: batch norm takes its kernels in training, where they fit.
    """

    device: torch.device
    dtype: torch.dtype
    autocast: bool
    compile: bool
    graph: bool
    processes: Single
    triton: bool = False

    def memory(self) -> int | None:
        """Return the most bytes that tensors took on the device, None on the CPU; the device is not waited for."""
        import torch

        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None

    @property
    def name(self) -> str:
        """The hardware, in words, for reports."""
        import torch

        if self.device.type == "cuda":
            hardware = torch.cuda.get_device_name(self.device)
        else:
            hardware = f"CPU, {torch.get_num_threads()} threads"
        return hardware if self.processes.size == 1 else f"{self.processes.size} processes, each on {hardware}"


def launched() -> tuple[int, int, int]:
    """Return what torchrun's environment says: (index, processes, index on this machine); (0, 1, 0) without."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if any(name not in os.environ for name in (*names, "TORCHELASTIC_RUN_ID")):
        return 0, 1, 0
    return tuple(int(os.environ[name]) for name in names)


def process_index() -> int:
    """Return this process' number in the job."""
    return launched()[0]


def open_runtime(config: RuntimeConfig) -> Runtime:
    """Select the device; UserError says what is there when the one asked for is not."""
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    number, size, local = launched()
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kind = config.device
    if kind == "auto":
        kind = "cuda" if available else "cpu"
    device_id = config.device_id
    if kind == "cuda" and size > 1:
        device_id = _shared_out(config.device_id, local, available)
    if kind == "cuda" and device_id >= available:
        there = f"{available} CUDA device(s), numbered from 0" if available else "no CUDA device"
        raise UserError(
            f"--device cuda --device-id {config.device_id} was asked for, but torch {torch.__version__} finds {there}. "
            "Use --device cpu, another --device-id, or install a CUDA build of torch."
        )
    if kind == "cpu" and config.device_id:
        raise UserError(f"--device-id {config.device_id} has no meaning on the CPU: drop it or use --device cuda.")
    if kind == "cpu" and config.precision == "bfloat16":
        raise UserError(
            "--precision bfloat16 is for CUDA: on the CPU torch's convolutions of stride 2 return NaN at random in it. "
            "Use --precision float32 there."
        )
    device = torch.device(kind, device_id) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(device)
        # TensorFloat-32 rounds the inputs of matrix products to 10 bits: not the float32 that parity is stated for.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        _choose_kernels(torch, config)
    dtype = torch.float64 if config.precision == "float64" else torch.float32

    from duoreid.backends.torch.processes import join

    graph = config.graph and kind == "cuda" and size == 1 and not config.compile
    processes = join(number, size, local, device)
    triton = kind == "cuda" and _triton(config)
    return Runtime(device, dtype, config.precision == "bfloat16", config.compile, graph, processes, triton)


def _triton(config: RuntimeConfig) -> bool:
    """Whether batch norm may take its kernels on CUDA; a warning where triton is missing."""
    if not config.triton or config.compile or config.precision == "float64":
        return False
    if find_spec("triton") is None:
        log.warning(
            "triton cannot be imported: batch norm runs in plain torch, slower in training. It comes with torch for "
            "CUDA on Linux (pip install triton); --no-triton says that it is not wanted."
        )
        return False
    return True


def _choose_kernels(torch: Any, config: RuntimeConfig) -> None:
    """Let every kernel sum in a fixed order, where that is asked for; else take the fastest.

    To try all of cuDNN's takes up to 45 seconds and, for a moment, twice the memory. In float32 it makes a step of MMT
    1.4 times as fast (270 -> 192 ms, four ResNet-50 on an H100), in bfloat16 no faster.
    """
    fixed = config.deterministic
    torch.backends.cudnn.benchmark = config.precision == "float32" and not fixed
    torch.use_deterministic_algorithms(fixed, warn_only=True)
    if fixed:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first matrix product
        # Its kernel for images with channels last adds in a fixed order too.
        warnings.filterwarnings("ignore", message=".*max_pool2d_with_indices_backward_cuda does not have a determin")


def _shared_out(given: int, local: int, available: int) -> int:
    """Return the device of a process: the one with its number on this machine."""
    if given:
        raise UserError(
            f"--device-id {given} was given in a job of several processes, of which each takes the device with its "
            "own number: leave it out, and choose devices with CUDA_VISIBLE_DEVICES."
        )
    if local >= available:
        raise UserError(
            f"this machine has {available} CUDA device(s), and process {local} of those started on it needs one of its "
            f"own: start at most {available} with torchrun --nproc-per-node, or train with --device cpu."
        )
    return local
