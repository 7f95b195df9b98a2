"""Errors that help: what was expected, what came, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
