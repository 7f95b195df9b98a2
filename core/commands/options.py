"""The options of `train`, made from a method's recipe: every field is an option, and no option is written twice."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from duoreid.core.commands.foreign_options import hint
from duoreid.core.commands.parsing import Parser, add_help
from duoreid.core.commands.settings_files import read_settings_file
from duoreid.core.errors import UserError, unknown, unknown_option
from duoreid.core.methods.registry import DEFAULT, METHODS, spec_of
from duoreid.core.methods.spec import MethodSpec
from duoreid.core.settings.config import Config, validate
from duoreid.core.settings.presets import OWN_PICTURES
from duoreid.core.settings.reading import as_recipe, current, from_dict
from duoreid.core.training import resume

TITLES = {
    "data": "data",
    "network": "network",
    "pretrain": "stage 1: supervised training on the source",
    "adapt": "stage 2: adaptation to the target",
    "run": "run",
}
"""Titles of sections; another one is headed by its name."""


class Start(NamedTuple):
    """What decides on all other options. base: the recipe that holds before content and options are laid over it.

    content: of --config, or of the run that --resume names.
    """

    spec: MethodSpec
    base: Config
    content: dict[str, Any]


def recipe_of(spec: MethodSpec, presets: dict[str, Config], name: str = "") -> Config:
    """Return a preset as a recipe of a method; without a name the method's default, else its recipe as it stands."""
    name = name or spec.default_preset
    return as_recipe(spec.recipe, presets[name], spec.name) if name else spec.recipe()


def build(prog: str, runtime: type, presets: dict[str, Config], spec: MethodSpec, base: Config) -> Parser:
    """Return a method's parser. runtime: the backend's RuntimeConfig class; base: shown as defaults."""
    parser = Parser(
        prog=prog,
        usage=f"{prog} [METHOD] [OPTIONS]",
        description=f"Train and test person re-identification. {spec.name}: {spec.about}. Without any argument: "
        f"{DEFAULT} on synthetic images, some five minutes on a CPU. Defaults shown are those of the preset "
        f"{base.preset!r}; another method has other options, which `{prog} METHOD --help` shows.",
        examples=[f"{prog} {spec.name} {words}".rstrip() for words in spec.examples],
        argument_default=argparse.SUPPRESS,
    )
    names = ", ".join(METHODS)
    parser.add_argument(
        "method",
        nargs="?",
        default=None,
        choices=tuple(METHODS),
        metavar="METHOD",
        help=f"{names} (default: {DEFAULT})",
    )
    parser.add_argument("--preset", metavar="NAME", help=f"recipe to start from; {', '.join(presets)}")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings as JSON, YAML or TOML: a run's config.json"
    )
    add_help(parser)
    for section in spec.sections:
        _add(parser.add_argument_group(TITLES.get(section, section)), getattr(base, section), spec.prefix(section))
    _add(parser.add_argument_group("device"), runtime(), "")
    return parser


def _add(group: argparse._ArgumentGroup, section: Any, prefix: str) -> None:
    for item in fields(section):
        default, choices = getattr(section, item.name), item.metadata.get("choices")
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        text = item.metadata["help"] if shown == "" else f"{item.metadata['help']} (default: {shown})"
        made: dict[str, Any] = {"help": text.replace("%", "%%")}
        if isinstance(default, bool):
            made["action"] = argparse.BooleanOptionalAction
        elif isinstance(default, tuple):
            kind = item.metadata.get("kind", int)
            made |= {"type": kind, "nargs": "*", "metavar": "N" if kind is int else "NAME"}
        else:
            kind = type(default)
            made |= {"type": kind, "choices": choices, "metavar": None if choices else kind.__name__.upper()}
        action = group.add_argument(flag(prefix + item.name), **made)
        action.everyday = bool(item.metadata.get("everyday"))


def flag(name: str) -> str:
    """Return the option of a field's name."""
    return f"--{name.replace('_', '-')}"


def parse(argv: Sequence[str] | None, prog: str, runtime: type, presets: dict[str, Config]) -> tuple[Config, Any]:
    """Return (the resolved recipe, the backend's RuntimeConfig): preset, then --config, then options.

    With --resume the run's config.json stands in for preset and --config, and few options may be given.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    spec, base, content = _start(argv, presets)
    parser = build(prog, runtime, presets, spec, base)
    _check_flags(argv, parser, spec, runtime)
    given = vars(parser.parse_args(argv))
    device, used = runtime(), content.pop("backend", {})
    if "resume" in given:
        resume.check_given((key for key in given if key != "method"), given["resume"], device)
        device = resume.same_device(device, used.get("runtime", {}))
    config = from_dict(base, current(content, base))
    config = replace(config, method=spec.name)
    for section in spec.sections:
        config = replace(config, **{section: _override(getattr(config, section), given, spec.prefix(section))})
    device = _override(device, given, "")
    validate(config)
    validate(device)
    if "resume" not in given and "arch" not in given and not content:
        config = _like_given(config)
    return config, device


def _like_given(config: Config) -> Config:
    """Return the settings with the architecture of the weights that `--start` names, where it names any."""
    if not getattr(config.run, "start", ()):
        return config
    from duoreid.core.training.pipelines.given import arch_of, given_weights

    files = given_weights(config, len(spec_of(config.method).students))
    if not files or not Path(files[0].partition("#")[0]).exists():  # the run says what is not there
        return config
    data = config.data
    return replace(
        config, network=replace(config.network, arch=arch_of(files[0], config.network, data.height, data.width))
    )


def _check_flags(argv: Sequence[str], parser: Parser, spec: MethodSpec, runtime: type) -> None:
    """Raise UserError for an option that the method does not have, and say which method has it."""
    flags = parser.flags()
    for word in argv:
        name = word.split("=")[0]
        if not word.startswith("--") or name in flags or word == "--":
            continue
        owners = [other.name for other in METHODS.values() if name.replace("--no-", "--", 1) in flags_of(other)]
        if owners:
            twins = [twin for twin in _twins(name, spec) if twin in flags]
            remedy = f"Here it is {twins[0]}" if twins else f"Leave it out, or train {owners[-1]}"
            raise UserError(f"{name} means nothing to {spec.name}: it is an option of {', '.join(owners)}. {remedy}.")
        if elsewhere := hint(name):
            raise UserError(elsewhere)
        raise unknown_option(spec.name, name, flags, f"{parser.prog} {spec.name} --help-all")


def _twins(name: str, spec: MethodSpec) -> list[str]:
    """Return how an option of this name would be called in the method's sections whose options begin otherwise."""
    no = "--no-" if name.startswith("--no-") else "--"
    return [f"{no}{flag(spec.prefix(section))[2:]}{name.removeprefix(no)}" for section in spec.sections]


def flags_of(spec: MethodSpec) -> set[str]:
    """Return the long names of a method's options, those of --no-OPTION and of the device aside."""
    recipe = spec.recipe()
    parts = {section: fields(getattr(recipe, section)) for section in spec.sections}
    return {flag(spec.prefix(section) + item.name) for section, items in parts.items() for item in items}


def _start(argv: list[str], presets: dict[str, Config]) -> Start:
    """Return the method, its recipe and the content of --config or --resume.

    The method is the one named, else that of --config, else that of --preset. Without --preset: the method's own.
    """
    first = Parser(prog="", add_help=False)
    first.add_argument("--preset")
    first.add_argument("--config", type=Path)
    first.add_argument("--resume", type=Path)
    first.add_argument("--start", nargs="*")
    early, others = first.parse_known_args(argv)
    content = read_settings_file(early.config) if early.config else {}
    if early.resume:
        content = resume.read_settings(early.resume)
    if early.preset is not None and early.preset not in presets:
        raise unknown("preset", early.preset, presets)
    named = _named_method(others)
    if early.resume and named and named != content.get("method"):
        raise UserError(f"{early.resume} is a run of {content.get('method')}, not of {named}: leave the method out.")
    method = named or content.get("method") or (presets[early.preset].method if early.preset else DEFAULT)
    spec = spec_of(method)
    preset = early.preset or ""
    if not preset and not content and early.start and spec.pretrains:
        from duoreid.core.training.pipelines.given import is_run

        preset = "" if is_run(early.start) else OWN_PICTURES
    if preset:
        check_preset(spec, preset, presets)
    return Start(spec, recipe_of(spec, presets, preset), dict(content))


def _named_method(words: Sequence[str]) -> str:
    """Return the method that stands among the words as an argument of its own, "" for none."""
    for before, word in pairwise(["", *words]):
        if word in METHODS and (not before.startswith("--") or "=" in before):
            return word
    return ""


def check_preset(spec: MethodSpec, name: str, presets: dict[str, Config]) -> None:
    """Raise UserError for a recipe that says nothing about the method's own stage."""
    made_for = spec_of(presets[name].method)
    if spec.section not in made_for.stages:
        fitting = [other for other, config in presets.items() if spec.section in spec_of(config.method).stages]
        raise UserError(
            f"--preset {name} is a recipe of {made_for.name} and says nothing about {spec.name}: leave one of them "
            f"out, or choose among {', '.join(fitting) or 'none'}."
        )


def _override(section: Any, given: dict[str, Any], prefix: str) -> Any:
    values = {item.name: given[prefix + item.name] for item in fields(section) if prefix + item.name in given}
    return replace(section, **{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
