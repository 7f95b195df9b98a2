"""These tests run in a temporary folder."""

import pytest


@pytest.fixture(autouse=True)
def _elsewhere(elsewhere: None) -> None:
    """See tests/conftest.py."""
