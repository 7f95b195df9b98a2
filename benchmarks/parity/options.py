"""The command's options: those of an Exam, of what to run, and of each backend's device; and what is refused."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import Field, fields, replace
from pathlib import Path

from duoreid.benchmarks.parity.exam import Exam
from duoreid.core.commands.model_options import add_fields
from duoreid.core.errors import UserError
from duoreid.core.settings.config import NetworkConfig, validate

BACKENDS = ("torch", "mindspore")
NETWORK = ("arch", "stem_relu", "last_stride", "batch_norm_group")
OWN = tuple(item.name for item in fields(Exam) if item.name != "network")
"""Options of an Exam's network, and of the Exam itself."""

DRAWS = 3
ENVELOPE = f"runs from disturbed weights, of the half that is run first (default: {DRAWS}; with --against: 0)"
DOUBLE = (
    "which backends also run in float64, torch on its device, MindSpore on the CPU (default: both; MindSpore's is slow "
    "in deep networks)"
)


def parser(description: str) -> argparse.ArgumentParser:
    """Return the command's parser. An option that is not given is None."""
    made = parser_of("python -m benchmarks.parity", description)
    run = made.add_argument_group("what is run")
    run.add_argument("--double", choices=("both", "torch", "mindspore", "none"), help=DOUBLE)
    run.add_argument("--double-steps", type=_count, help="steps of training in float64 (default: as many as --steps)")
    run.add_argument("--envelope", type=_count, help=ENVELOPE)
    run.add_argument("--double-envelope", type=_count, help="the same in float64, where both run in it (default: 3)")
    run.add_argument("--backend", choices=BACKENDS, help="with --record or --against: whose half is run")
    run.add_argument("--record", type=Path, metavar="FILE", help="run one half and write it to a file")
    run.add_argument("--against", type=Path, metavar="FILE", help="run the other half of a recorded one and compare")
    run.add_argument("--compare", type=Path, nargs=2, metavar="FILE", help="compare two recorded halves")
    out = made.add_argument_group("output")
    out.add_argument("--json", type=Path, metavar="FILE", help="write every number to a file")
    out.add_argument("--plot", type=Path, metavar="FILE.png", help="draw curves, drift and errors by layer")
    out.add_argument("--every", action="store_true", help="a line for every layer and tensor of deep networks too")
    for backend in BACKENDS:
        device = made.add_argument_group(f"device of {backend}")
        for item in runtime_fields(backend):
            kind, choices = type(item.default), item.metadata.get("choices")
            action = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind, "choices": choices}
            flag = f"--{backend}-{item.name.replace('_', '-')}"
            device.add_argument(flag, help=item.metadata["help"], default=None, **action)
    return made


def parser_of(prog: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options of an Exam and of its network."""
    shape = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(prog=prog, description=description, formatter_class=shape, allow_abbrev=False)
    group = made.add_argument_group("what is computed")
    add_fields(group, [item for item in fields(Exam) if item.name in OWN])
    add_fields(group, [item for item in fields(NetworkConfig) if item.name in NETWORK])
    return made


def exam_of(given: argparse.Namespace) -> Exam:
    """Return the exam that the options describe."""
    values = {name: value for name, value in vars(given).items() if value is not None}
    network = replace(NetworkConfig(), **{name: values[name] for name in NETWORK if name in values})
    exam = replace(Exam(), network=network, **{name: values[name] for name in OWN if name in values})
    validate(exam)
    exam.check()
    return exam


def runtime_fields(backend: str) -> tuple[Field, ...]:
    """Return a backend's settings of its device."""
    return fields(importlib.import_module(f"duoreid.backends.{backend}.runtime").RuntimeConfig)


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 0, got {text!r}")
    return int(text)


def check(given: argparse.Namespace) -> None:
    """Raise UserError where an option would have no effect or a file could not be written, before anything is run."""
    if given.compare and (given.against or given.record):
        raise UserError("--compare runs nothing: leave out --against and --record, or leave out --compare.")
    source = "--compare" if given.compare else "--against" if given.against else ""
    names = [name for name in (*OWN, *NETWORK) if name != "state"]
    names += ["backend", "double", "double_steps", "envelope", "double_envelope"] if given.compare else []
    ignored = [f"--{name.replace('_', '-')}" for name in names if source and getattr(given, name) is not None]
    if ignored:
        raise UserError(
            f"{', '.join(ignored)}: with {source} the settings are those of the recorded file. Leave it out."
        )
    if given.backend and not (given.record or given.against):
        raise UserError("--backend chooses whose half is run: it goes with --record or --against. Without, both run.")
    if given.double_envelope is not None and given.double not in (None, "both"):
        raise UserError(
            f"--double-envelope with --double {given.double}: what noise does in float64 gives the limit where both "
            "backends run in it. Leave one of them out."
        )
    for option in ("json", "plot"):
        if getattr(given, option) and given.record and not given.against:
            raise UserError(
                f"--{option} needs both halves: --record alone runs one. Give it with --against or --compare."
            )
    if given.plot and given.plot.suffix.lower() != ".png":
        raise UserError(f"--plot writes a PNG: name a file that ends in .png, got {given.plot}")
    for path in (given.json, given.plot, given.record):
        if path and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise UserError(f"{path} cannot be written: it is a folder, or its folder does not exist.")
