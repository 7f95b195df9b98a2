"""What the parsers of all commands share: errors that help, and a help that fits on a screen."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

from duoreid.core.errors import UserError

WIDTH = 100
"""Columns of a help, where the terminal is not narrower."""


def _formatter(prog: str) -> argparse.HelpFormatter:
    columns = min(WIDTH, shutil.get_terminal_size().columns)
    return argparse.RawDescriptionHelpFormatter(prog, width=columns, max_help_position=28)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes whole option names only, and whose errors are UserErrors.

    examples: command lines, shown before the options. Paragraphs of the description are filled.
    """

    def __init__(self, *, description: str = "", examples: Sequence[str] = (), **settings: Any) -> None:
        filled = "\n".join(textwrap.fill(part, WIDTH) for part in description.split("\n"))
        if examples:
            filled += "\n\nexamples:\n" + "\n".join(f"  {line}" for line in examples)
        usual = {"add_help": False, "formatter_class": _formatter}
        super().__init__(allow_abbrev=False, description=filled, **(usual | settings))

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}\nSee {self.prog} --help.")

    def flags(self) -> list[str]:
        """Return every option's long name."""
        return [name for action in self._actions for name in action.option_strings if name.startswith("--")]

    def short_help(self) -> str:
        """Return a help without the options that are seldom needed: those whose action is not `everyday`."""
        hidden = [(action, action.help) for action in self._actions if not getattr(action, "everyday", True)]
        try:
            for action, _ in hidden:
                action.help = argparse.SUPPRESS
            text = self.format_help()
        finally:
            for action, words in hidden:
                action.help = words
        return f"{text.rstrip()}\n\n{len(hidden)} more options: --help-all\n" if hidden else text


class _Help(argparse.Action):
    """Print a help and end. full: with every option."""

    def __init__(self, option_strings: list[str], *, full: bool, **settings: Any) -> None:
        settings |= {"dest": argparse.SUPPRESS, "default": argparse.SUPPRESS, "nargs": 0}
        super().__init__(option_strings, **settings)
        self.full = full

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        sys.stdout.write(parser.format_help() if self.full else parser.short_help())
        raise SystemExit(0)


def add_help(parser: Parser) -> None:
    """Add --help, with the everyday options, and --help-all."""
    parser.add_argument("-h", "--help", action=_Help, full=False, help="show the everyday options")
    parser.add_argument("--help-all", action=_Help, full=True, help="show every option")
