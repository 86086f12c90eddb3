"""Statements as keys with values, apart from the texts that show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Texts = Mapping[str, str | Callable[..., str]]
"""A text for each key: a template for `str.format`, or a function of the values."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A statement: its key, and the values that its text shows."""

    key: str
    params: Mapping[str, Any]


def sentence(key: str, /, **params: Any) -> Sentence:
    """Make a statement of a key and its values."""
    return Sentence(key, params)


def render(statement: Sentence, texts: Texts) -> str:
    """Write a statement as text.

    Raises:
        KeyError: `texts` has no text for its key, or a template names a value that it does not have.
    """
    text = texts[statement.key]
    return text.format(**statement.params) if isinstance(text, str) else text(**statement.params)
