"""`python -m tests.conformance.batch_norm_compiled`: the kernels of batch norm as an H100 would run them, in JSON.

Triton compiles for a device that is not there; what is wrong in a kernel for a real device alone, as a 1 that becomes a
constant, ends here. Without TRITON_INTERPRET.
"""

from __future__ import annotations

import json
import re
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from duoreid.backends.torch.kernels import programs
from duoreid.backends.torch.kernels.plans import WARPS, plan

TARGET = GPUTarget("cuda", 90, 32)
ACTIVATIONS = {"x", "residual", "y", "dy", "kept", "gradients", "dx"}
REALS = {"momentum", "epsilon"}
STRIDES = ("stride", "residual_stride", "dy_stride", "gradient_stride")
COUNTS = {"rows", "channels", "chunk", "splits", "groups", *STRIDES}
FOUR_GROUPS = plan(2048, 256, 4)
ONE_CHANNEL = plan(60, 1, 1)


def compiled(kernel: Any, kind: str, sizes: dict[str, Any]) -> dict[str, Any]:
    """Compile a kernel. kind: of activations. sizes: constants; all else is divisible by 16, if none of them is odd."""
    odd = sizes.pop("odd", False)
    signature, constants, known = {}, {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in sizes:
            signature[name], constants[(place,)] = "constexpr", sizes[name]
            continue
        number = "fp32" if name in REALS else "i32" if name in COUNTS else ""
        signature[name] = number or f"*{kind if name in ACTIVATIONS else 'fp32'}"
        if not odd and name not in REALS:
            known[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=known)
    program = triton.compile(source, target=TARGET, options={"num_warps": WARPS})
    text = program.asm["ptx"]
    return {
        "bytes": len(program.asm["cubin"]),
        "atomic": bool(re.search(r"\b(atom|red)\.", text)),
        "wide": "ld.global.v4.b32" in text,
    }


def jobs() -> dict[str, tuple[Any, str, dict[str, Any]]]:
    """Return kernels, types and sizes by name: those of a layer of ResNet-50, and those where every count is 1."""
    ones = {"odd": True, "splits": 1, "groups": 1, "channels": 1, **dict.fromkeys(STRIDES, 1)}
    kernels = {}
    for label, shared, counts, masks in (
        ("of ResNet-50", FOUR_GROUPS, {}, (0, 1, 2)),
        ("odd", ONE_CHANNEL, ones, (1,)),
    ):
        blocks = {"BLOCK_R": shared.block_rows, "BLOCK_C": shared.block_columns, **counts}
        joint = {"BLOCK_S": shared.joint["BLOCK_S"], "BLOCK_C": shared.joint["BLOCK_C"], **counts}
        added = {**blocks, "ADD": True, "RELU": True}
        kernels[f"moments, {label}"] = programs.moments, "bf16", blocks
        kernels[f"statistics, {label}"] = programs.statistics, "bf16", joint
        kernels[f"normalise, {label}"] = programs.normalise, "bf16", added
        for mask in masks:
            kernels[f"gradient_sums, {label}, {mask}"] = programs.gradient_sums, "bf16", {**blocks, "MASK": mask}
        kernels[f"gradient_totals, {label}"] = programs.gradient_totals, "bf16", joint
        kernels[f"gradient_input, {label}"] = programs.gradient_input, "bf16", {**blocks, "MASK": 1}
        if not counts:
            kernels["normalise, float32"] = programs.normalise, "fp32", added
            kernels["gradient_sums, float32"] = programs.gradient_sums, "fp32", {**blocks, "MASK": 2}
    return kernels


if __name__ == "__main__":
    print(json.dumps({name: compiled(kernel, kind, dict(sizes)) for name, (kernel, kind, sizes) in jobs().items()}))
