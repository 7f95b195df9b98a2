"""What a process takes of the host's memory and of the device's, where the system says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")


def of_host() -> int | None:
    """Return the bytes that this process holds now, None where the system does not tell (it is no Linux)."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), None)


def in_words(runtime: Any) -> str:
    """Return both in GB, to stand behind other words. runtime: a backend's; its `memory()` says what tensors took."""
    parts = [(of_host(), "of memory"), (runtime.memory() if hasattr(runtime, "memory") else None, "on the device")]
    return "".join(f" · {size / 1e9:.1f} GB {where}" for size, where in parts if size is not None)
