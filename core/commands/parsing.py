"""What the parsers of all commands share: errors that help, and a help that fits on a screen."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

from duoreid.core.commands.foreign_options import hint
from duoreid.core.errors import UserError, alternatives, closest

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
        words = message.split() if message.startswith("unrecognized arguments") else []
        elsewhere = "".join(f"\n{advice}" for word in words if (advice := self._instead(word.split("=")[0])))
        raise UserError(f"{message}{elsewhere}\nSee {self.prog} --help.")

    def _instead(self, word: str) -> str:
        """Return what to give instead of an unknown option, "" where nothing is known, and for other words."""
        if advice := hint(word):
            return advice
        close = closest(word, self.flags()) if word.startswith("--") else []
        return f"Instead of {word}, did you mean {alternatives(close)}?" if close else ""

    def flags(self) -> list[str]:
        """Return every option's long name."""
        return [name for action in self._actions for name in action.option_strings if name.startswith("--")]

    def short_help(self) -> str:
        """Return a help of a screen: what comes first in the long one, and a line for each option of every day.

        Those are the options whose action is not marked otherwise by `everyday`; the rest are counted.
        """
        shown = [one for one in self._actions if getattr(one, "everyday", True) and one.help != argparse.SUPPRESS]
        hidden = sum(not getattr(one, "everyday", True) for one in self._actions)
        rows = [(self._short_name(one), _brief(one)) for one in shown]
        width = max(len(name) for name, _ in rows)
        lines = [f"  {name:{width}}  {words}" for name, words in rows]
        more = f"\n{hidden} more options: --help-all\n" if hidden else ""
        return f"{self.format_usage()}\n{self.description}\n\noptions:\n" + "\n".join(lines) + f"\n{more}"

    @staticmethod
    def _short_name(action: argparse.Action) -> str:
        if not action.option_strings:
            return str(action.metavar or action.dest)
        name = next((one for one in action.option_strings if one.startswith("--")), action.option_strings[0])
        if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
            return name
        return f"{name} {action.metavar or action.dest.upper()}" if not action.choices else f"{name} NAME"


def _brief(action: argparse.Action) -> str:
    """Return an option's help up to its first semicolon, with its choices where they are short, and its default."""
    words, default = (action.help or "").replace("%%", "%"), ""
    if (place := words.rfind(" (default: ")) > 0:
        words, default = words[:place], words[place:]
    parts = words.split(";")
    ends = [";".join(parts[:count]) for count in range(1, len(parts) + 1)]
    brief = next(text for text in ends if text.count("(") == text.count(")") or text == words)
    known = [str(one) for one in action.choices or () if str(one)] if action.option_strings else []
    choices = f": {', '.join(known)}" if known and len(", ".join(known)) < 60 else ""
    return f"{brief}{choices}{default}"


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
