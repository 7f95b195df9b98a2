"""Errors that help: what was expected, what came, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """A mistake in options, data or environment. The command line prints its text without a traceback."""


class FailedElsewhereError(UserError):
    """Another process has failed and says why; this one only ends."""


def unknown(what: str, given: str, known: Iterable[str]) -> UserError:
    """Return the error for a name that is not among the known ones, pointing at the closest."""
    known = sorted(known)
    close = difflib.get_close_matches(str(given), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return UserError(f"unknown {what} {given!r}.{hint} Known: {', '.join(known)}.")


def unknown_option(of: str, given: str, known: Iterable[str], help_command: str) -> UserError:
    """Return the error for an option that `of` has not: the closest few that it has, and where all of them are listed.

    known: long names, such as "--epochs". help_command: the command whose help lists them.

    >>> print(unknown_option("source", "--source-epochs", ["--pretrain-epochs", "--rate"], "train source --help-all"))
    unknown option of source '--source-epochs'. Did you mean --pretrain-epochs? `train source --help-all` lists all.
    """
    hint = f" Did you mean {alternatives(close)}?" if (close := closest(given, known)) else ""
    return UserError(f"unknown option of {of} {given!r}.{hint} `{help_command}` lists all.")


def closest(given: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return up to `most` option names that are written alike, or end in the same word.

    >>> closest("--no-ibn", ["--arch", "--data"]), closest("--epoch", ["--epochs", "--pretrain-epochs", "--rate"])
    ([], ['--epochs', '--pretrain-epochs'])
    """
    known = sorted(known)
    matches = difflib.get_close_matches(given, known, n=most, cutoff=0.7)
    last = given.rpartition("-")[2]
    matches += [name for name in known if name.rpartition("-")[2] in (last, f"{last}s") and name not in matches]
    return matches[:most]


def alternatives(names: Sequence[str]) -> str:
    """Return names as one reads them out.

    >>> alternatives(["--a", "--b", "--c"])
    '--a, --b or --c'
    """
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
