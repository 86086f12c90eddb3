"""Colours and shapes of plots, in a light and a dark edition.

Hues follow Okabe and Ito's set, which colour-blind readers can distinguish. Every backend also has a shape of its own, and every
verdict a sign beside its word.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tone:
    """One colour in both editions."""

    light: str
    dark: str


INK = Tone(light="#1c2024", dark="#e7e9ec")
MUTED = Tone(light="#60646c", dark="#a0a6b0")
GRID = Tone(light="#e6e8eb", dark="#2b3038")
PAPER = Tone(light="#ffffff", dark="#14171b")
BETTER = Tone(light="#0b7285", dark="#4fc3d9")
WORSE = Tone(light="#c24a00", dark="#ff9a5c")

_BACKENDS: dict[str, tuple[Tone, str, str]] = {
    "eager": (Tone(light="#d55e01", dark="#f28c45"), "circle", "o"),
    "compile": (Tone(light="#a8518a", dark="#dc8fbf"), "square", "s"),
    "ort": (Tone(light="#0072b3", dark="#56a9e6"), "diamond", "D"),
    "trt": (Tone(light="#00805c", dark="#2fc294"), "triangle-up", "^"),
    "trt:cuda-graph": (Tone(light="#a67c00", dark="#e2b93b"), "triangle-down", "v"),
}
_OTHERS: tuple[tuple[Tone, str, str], ...] = (
    (Tone(light="#5b6f9e", dark="#9db2e6"), "cross", "P"),
    (Tone(light="#7a5c3e", dark="#c9a57e"), "x", "X"),
    (Tone(light="#5f7a1f", dark="#a9c95a"), "star", "*"),
)


def of_backend(name: str) -> tuple[Tone, str, str]:
    """Return a backend's colour and its markers for plotly and matplotlib.

    Unknown backends share three.
    """
    return _BACKENDS.get(name) or _OTHERS[sum(name.encode(errors="surrogatepass")) % len(_OTHERS)]


def dark_edition() -> dict[str, str]:
    """Map each light colour to its dark one.

    A browser swaps them.
    """
    tones = [INK, MUTED, GRID, PAPER, BETTER, WORSE, *(tone for tone, _, _ in (*_BACKENDS.values(), *_OTHERS))]
    return {tone.light: tone.dark for tone in tones}
