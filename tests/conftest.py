"""What all tests need before any library is loaded: one OpenMP thread, and no telemetry."""

from __future__ import annotations

import os

import pytest

from settings import Settings

for name, value in Settings().environment().items():
    # Addresses and paths are each test's own.
    if not name.startswith("MLOPS_") and "URI" not in name and "PREFECT" not in name:
        os.environ[name] = value
os.environ.pop("BENTOML_HOME", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The whole turns first: they take as long as all others, which run beside them."""
    items.sort(key=lambda item: item.path.name not in {"test_turn.py", "test_killed.py"})
