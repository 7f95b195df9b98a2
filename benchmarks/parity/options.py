"""The command's options: of an Exam, of training, of what to run, of each backend's device; and what is refused.

What a step computes is set by training's own options: the fields of the network and of each method's own stage, under
the names that `duoreid train` gives them. A field that is new there is an option here.
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import Field, fields, replace
from pathlib import Path

from duoreid.benchmarks.parity.exam import Exam
from duoreid.core.commands.model_options import add_fields
from duoreid.core.commands.options import check_preset, flag, recipe_of
from duoreid.core.errors import UserError, unknown
from duoreid.core.methods.registry import spec_of
from duoreid.core.settings.config import NetworkConfig, validate
from duoreid.core.settings.presets import presets

BACKENDS = ("torch", "mindspore")
OWN = {item.name: item for item in fields(Exam) if item.name not in ("network", "section")}
METHODS = OWN["method"].metadata["choices"]
ASIDE = (
    *("weights", "epochs", "iterations", "pass_over", "identities", "images", "sampler", "search"),
    *("warmup_epochs", "warmup_factor", "schedule_ahead", "milestones", "gamma"),
    *("decay", "decay_start", "decay_end", "final_factor"),
    *("clustering", "clusters", "kmeans_restarts", "k1", "k2", "jaccard_scale", "min_samples", "eps_share"),
)
"""Settings of training without use here: length, people and batches are the exam's, labels true, the rate constant."""

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
        add_fields(made.add_argument_group(f"device of {backend}"), runtime_fields(backend), prefix=f"{backend}-")
    return made


def parser_of(prog: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options of an Exam, and of the training that it is of."""
    shape = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(prog=prog, description=description, formatter_class=shape, allow_abbrev=False)
    add_fields(made.add_argument_group("what is computed"), OWN.values())
    known: dict[str, Field] = {}
    for method in METHODS:
        more = {name: item for name, item in of_training(method).items() if name not in known}
        if more:
            add_fields(made.add_argument_group(f"options of duoreid train {method}"), more.values(), "the preset's")
        known |= more
    made.add_argument("--preset", metavar="NAME", help="recipe of duoreid train whose network and steps are taken")
    return made


def of_training(method: str) -> dict[str, Field]:
    """Return the settings of training, by name, that decide what a step of a method computes."""
    spec = spec_of(method)
    items = (*fields(NetworkConfig), *fields(getattr(spec.recipe(), spec.section)))
    return {item.name: item for item in items if item.name not in ASIDE}


def exam_of(given: argparse.Namespace) -> Exam:
    """Return the exam that the options describe."""
    values, recipes = {name: value for name, value in vars(given).items() if value is not None}, presets()
    preset, network, section = values.get("preset"), NetworkConfig(), {}
    if preset and preset not in recipes:
        raise unknown("preset", preset, recipes)
    method = values.get("method") or (recipes[preset].method if preset else Exam().method)
    spec, known = spec_of(method), of_training(method)
    for name in (name for other in METHODS for name in of_training(other)):
        if name in values and name not in known:
            raise UserError(f"{flag(name)} means nothing to {method}: leave it out, or take another --method.")
    if preset:
        check_preset(spec, preset, recipes)
        recipe = recipe_of(spec, recipes, preset)
        network, trained = replace(recipe.network, weights=""), getattr(recipe, spec.section)
        section = {name: getattr(trained, name) for name in known if hasattr(trained, name)}
    chosen = {name: values[name] for name in known if name in values}
    network = replace(network, **{name: value for name, value in chosen.items() if hasattr(network, name)})
    section |= {name: value for name, value in chosen.items() if not hasattr(network, name)}
    own = {name: values[name] for name in OWN if name in values} | {"method": method}
    exam = replace(Exam(), network=network, section=section, **own)
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
    names = [*OWN, "preset", *(name for method in METHODS for name in of_training(method))]
    names += ["backend", "double", "double_steps", "envelope", "double_envelope"] if given.compare else []
    taken = [name for name in dict.fromkeys(names) if name != "state" and getattr(given, name) is not None]
    if source and taken:
        raise UserError(
            f"{', '.join(map(flag, taken))}: with {source} the settings are those of the recorded file. Leave it out."
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
            raise UserError(f"--{option} needs both halves: --record alone runs one. Add --against, or take --compare.")
    if given.plot and given.plot.suffix.lower() != ".png":
        raise UserError(f"--plot writes a PNG: name a file that ends in .png, got {given.plot}")
    for path in (given.json, given.plot, given.record):
        if path and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise UserError(f"{path} cannot be written: it is a folder, or its folder does not exist.")
