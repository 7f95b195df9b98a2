"""Where and how the torch backend computes. Importing this file imports no framework: `--help` stays fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.config import option
from core.errors import UserError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RuntimeConfig:
    """Device, precision and execution; none of it changes what is computed, only how exactly and how fast."""

    device: str = option("auto", "device; auto: cuda where there is one, else cpu", choices=("auto", "cpu", "cuda"))
    device_id: int = option(0, "which CUDA device", least=0)
    precision: str = option(
        "float32", "bfloat16: autocast with float32 weights", choices=("float32", "bfloat16", "float64")
    )
    threads: int = option(0, "CPU threads of the framework; 0: its own choice", least=0, most=1024)
    compile: bool = option(False, "compile the forward passes with torch.compile")


@dataclass(frozen=True)
class Runtime:
    """A RuntimeConfig made real. autocast: networks compute in bfloat16; weights stay in `dtype`."""

    device: torch.device
    dtype: torch.dtype
    autocast: bool
    compile: bool

    @property
    def name(self) -> str:
        """The hardware, in words, for reports."""
        import torch

        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"CPU, {torch.get_num_threads()} threads"


def open_runtime(config: RuntimeConfig) -> Runtime:
    """Select the device; UserError says what is there when the one asked for is not."""
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kind = config.device
    if kind == "auto":
        kind = "cuda" if available else "cpu"
    if kind == "cuda" and config.device_id >= available:
        found = f"{available} CUDA device(s), numbered from 0" if available else "no CUDA device"
        raise UserError(
            f"--device cuda --device-id {config.device_id} was asked for, but torch {torch.__version__} finds {found}. "
            "Use --device cpu, another --device-id, or install a CUDA build of torch."
        )
    if kind == "cpu" and config.device_id:
        raise UserError(f"--device-id {config.device_id} has no meaning on the CPU: drop it or use --device cuda.")
    device = torch.device(kind, config.device_id) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        # TensorFloat-32 rounds the inputs of matrix products to 10 bits: not the float32 that parity is stated for.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
    dtype = torch.float64 if config.precision == "float64" else torch.float32
    return Runtime(device, dtype, config.precision == "bfloat16", config.compile)
