"""Helpers, stand-ins and small models that tests share."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""

GOLDEN = ROOT / "tests" / "golden"
"""Files that earlier versions wrote, and published tables."""
