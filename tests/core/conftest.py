"""What the tests of files from strangers share: small limits, and how much time and memory such a file may take."""

from __future__ import annotations

import pytest

from duoreid.core.checkpoints.formats import guard, pickled

SECONDS, BYTES = 60, 64 << 20
"""What one refused file of some kilobytes may take: the pickle of most instructions takes most."""


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of the real ones' kind, small enough to be reached in a moment."""
    monkeypatch.setattr(guard, "MOST_NUMBERS", 4 << 20)
    monkeypatch.setattr(pickled, "MOST_STEPS", 50_000)
