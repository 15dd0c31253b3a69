"""The operator-wide switch."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """What the whole operator does."""

    ACTIVE = "Active"
    FALLBACK = "Fallback"
    """Every projection tells applications to use their built-in default."""
    FROZEN = "Frozen"
    """Nothing is written."""
