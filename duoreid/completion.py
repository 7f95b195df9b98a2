"""`duoreid completion SHELL`: what the shell needs to complete commands, methods, options and file names."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from duoreid.core.commands import (
    calibrate,
    compare,
    embed,
    evaluate,
    export,
    group,
    machine,
    options,
    report,
    runs,
    score,
    search,
    serve,
)
from duoreid.core.commands.parsing import Parser
from duoreid.core.errors import UserError
from duoreid.core.methods.registry import METHODS
from duoreid.core.settings.presets import presets
from duoreid.datasets import doctor

HOW = {
    "bash": "duoreid completion bash > ~/.local/share/bash-completion/completions/duoreid",
    "zsh": "duoreid completion zsh > DIR/_duoreid, with DIR on your $fpath",
}


def tree() -> argparse.ArgumentParser:
    """Return one parser of all commands: with `train`, the options of every method."""
    from duoreid.cli import BACKENDS, COMMANDS

    top = argparse.ArgumentParser(prog="duoreid")
    top.add_argument("--version", action="store_true", help="print the version")
    commands = top.add_subparsers()
    backend = importlib.import_module(f"duoreid.backends.{BACKENDS[0]}.entry").BACKEND
    programs = importlib.import_module(f"duoreid.backends.{BACKENDS[0]}.export").PROGRAMS
    made = {
        "train": _train(backend.runtime),
        "evaluate": evaluate.build(backend),
        "export": export.build(backend, programs),
        "report": report.build(backend),
        "embed": embed.build(),
        "search": search.build(),
        "calibrate": calibrate.build(),
        "group": group.build(),
        "serve": serve.build(),
        "doctor": doctor.build(),
        "score": score.build(),
        "runs": runs.build(),
        "compare": compare.build(),
        "machine": machine.build("machine"),
    }
    for name, command in COMMANDS.items():
        inner = commands.add_parser(name, help=command.about, add_help=False)
        if name in ("train", "evaluate", "export", "report"):
            inner.add_argument("--backend", choices=BACKENDS, help="what computes")
        if name == "completion":
            inner.add_argument("shell", choices=tuple(HOW))
        else:
            _take_over(inner, made[name])
    return top


def _train(runtime: type) -> Parser:
    """Return a parser with the options of every method."""
    union = Parser(prog="train", add_help=False)
    for spec in METHODS.values():
        _take_over(union, options.build("train", runtime, presets(), spec, options.recipe_of(spec, presets())))
    return union


def _take_over(parser: argparse.ArgumentParser, given: argparse.ArgumentParser) -> None:
    """Add the arguments of another parser that a parser does not have yet."""
    known = {name for action in parser._actions for name in action.option_strings or [action.dest]}
    for action in given._actions:
        if not known & set(action.option_strings or [action.dest]):
            parser._add_action(action)


def main(words: Sequence[str], prog: str) -> int:
    """Print the completion of a shell."""
    about = "Print the completion of a shell.\n\n" + "\n".join(f"{shell}: {how}" for shell, how in HOW.items())
    parser = Parser(prog=prog, add_help=True, description=about)
    parser.add_argument("shell", choices=tuple(HOW))
    given = parser.parse_args(words)
    try:
        import shtab
    except ImportError as error:
        raise UserError("completion needs shtab, which is not installed: pip install 'duoreid[completion]'.") from error
    sys.stdout.write(shtab.complete(tree(), shell=given.shell) + "\n")
    return 0
