"""The commands of a page: run in this process, or accepted by their own parsers."""

from __future__ import annotations

import argparse
import configparser
import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from duoreid.benchmarks.ablation_rows import ABLATIONS
from duoreid.core.methods.registry import METHODS
from tests.docs.blocks import EXTENDED, ROOT

LAUNCHERS = ("torchrun", "msrun")
OWN = ("duoreid", "backends", "benchmarks", "core", "datasets")


class Parsed(BaseException):
    """A command's parser has accepted its words; `rest` are those that it hands on to the training command."""

    def __init__(self, parser: argparse.ArgumentParser, rest: list[str]) -> None:
        super().__init__()
        self.parser, self.rest = parser, rest


@contextlib.contextmanager
def stopped_at_the_parser() -> Iterator[None]:
    """Let every parser end its program by Parsed once it has accepted all words.

    A parser without --help only looks for a few words ahead of the real one, and goes on.
    """
    parse, parse_known = argparse.ArgumentParser.parse_args, argparse.ArgumentParser.parse_known_args

    def whole(self: argparse.ArgumentParser, *given: Any, **options: Any) -> None:
        with mock.patch.object(argparse.ArgumentParser, "parse_known_args", parse_known):
            parse(self, *given, **options)
        raise Parsed(self, [])

    def known(self: argparse.ArgumentParser, *given: Any, **options: Any) -> Any:
        namespace, rest = parse_known(self, *given, **options)
        if any("--help" in action.option_strings for action in self._actions):
            raise Parsed(self, rest)
        return namespace, rest

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", whole),
        mock.patch.object(argparse.ArgumentParser, "parse_known_args", known),
    ):
        yield


def call(module: str, words: list[str], folder: Path) -> tuple[int, str, str]:
    """Run `python -m MODULE WORDS` in a folder, in this process -> (status, what it printed, its errors)."""
    printed, errors, before = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(folder)
    try:
        with (
            mock.patch.object(sys, "argv", [module, *words]),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(errors),
        ):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        os.chdir(before)
    return status, printed.getvalue(), errors.getvalue()


def parser_of(module: str, words: list[str], folder: Path) -> argparse.ArgumentParser:
    """Return the parser that accepts a command; AssertionError with the command's own words where it refuses."""
    try:
        with stopped_at_the_parser():
            _, _, errors = call(module, words, folder)
    except Parsed as end:
        if end.rest:
            trained = [ABLATIONS[word].method if word in ABLATIONS else word for word in words]
            parser_of("backends.torch.train", [*[word for word in trained if word in METHODS][:1], *end.rest], folder)
        return end.parser
    raise AssertionError(f"{module} {shlex.join(words)} was not accepted:\n{errors}")


def run(command: str, folder: Path, more: list[str], *, refused: bool = False) -> str:
    """Run a command with more words behind it and return what it printed; AssertionError where it fails.

    refused: it must end with status 2, and its message is returned.
    """
    words = shlex.split(command)
    if words[0] == "make":
        accept(command, folder)
        return ""
    module, words = program(words)
    if "--resume" in words:
        words = [EXTENDED if before == "--epochs" else word for before, word in zip(["", *words], words, strict=False)]
        more = []
    status, printed, errors = call(module, [*words, *more], folder)
    assert status == (2 if refused else 0), f"{command} ended with {status}:\n{errors}"
    return errors if refused else printed


def accept(command: str, folder: Path) -> None:
    """Raise AssertionError where a command's own parser refuses it."""
    words = shlex.split(command)
    if words[0] == "make":
        started = _dry_run(words)
        assert started, f"{command} starts no command of this library"
        for one in started:
            accept(one, folder)
    elif words[:2] == ["pip", "install"]:
        _accept_requirements([word for word in words[2:] if not word.startswith("-")])
    elif "pytest" in words:
        _accept_tests(words[words.index("pytest") + 1 :])
    else:
        parser_of(*program(words), folder)


def program(words: list[str]) -> tuple[str, list[str]]:
    """Return the module that a command starts, and its words."""
    if words[0] in LAUNCHERS:
        words = words[words.index("-m") - 1 :]
    if Path(words[0]).name == "duoreid":
        return "duoreid", words[1:]
    assert Path(words[0]).name.startswith(("python", *LAUNCHERS)) or words[1] == "-m", words
    assert words[1] == "-m", words
    module = words[2]
    assert module.split(".")[0] in OWN, f"{module} is no module of this library"
    return module, words[3:]


def _dry_run(words: list[str]) -> list[str]:
    """Return the commands of this library that `make` would start."""
    command = ["make", "--dry-run", "--always-make", "--no-print-directory", *words[1:]]
    given = ("MAKE", "MFLAGS", "ARGS")  # what a `make` that runs the tests hands on
    environment = {name: value for name, value in os.environ.items() if not name.startswith(given)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    started = re.findall(r"^.*?(\S*(?:python3? -m|/duoreid) .*)$", done.stdout.replace("\\\n", " "), re.MULTILINE)
    return [line for line in started if "/duoreid " in line or line.split()[2].split(".")[0] in (*OWN, "pytest")]


def _accept_requirements(requirements: list[str]) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = set(setup["options.extras_require"])
    for requirement in requirements:
        own = re.fullmatch(r"\.(?:\[([\w,]+)\])?", requirement)
        if own:
            assert set((own[1] or "").split(",")) - {""} <= extras, f"{requirement}: known extras are {extras}"
        else:
            assert re.fullmatch(r"[\w-]+([=<>~!]=?[\w.]+)?", requirement), requirement


def _accept_tests(words: list[str]) -> None:
    conftest = (ROOT / "tests" / "conftest.py").read_text()
    for before, word in zip(["", *words], words, strict=False):
        if word.startswith("--") and word.endswith("-device"):
            assert "-device" in conftest
        elif not word.startswith("-") and not before.startswith("-"):
            assert (ROOT / word.partition("::")[0]).exists(), f"there is no {word}"
