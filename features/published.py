"""Up to when is the online store published? Answered without importing Feast."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from settings import Settings


def stands_at(settings: Settings) -> datetime | None:
    """Up to when (UTC) the online store is published; None if it never was."""
    note = marker(settings)
    return datetime.fromisoformat(note.read_text()) if note.exists() else None


def marker(settings: Settings) -> Path:
    """The file that holds the moment; written after the rows that it speaks of."""
    return settings.var / "feast" / "published"
