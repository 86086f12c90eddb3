"""Small changes of bytes and of JSON documents."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]

HOSTILE_TEXTS = (
    "",
    " ",
    ".",
    "..",
    "../../escape",
    "/etc/passwd",
    "a/b",
    "\x00",
    "\x1b]0;taken\x07\x1b[2J",
    "line\nline\r\u2028",
    "<script>alert(1)</script>",
    "[x](http://127.0.0.1/) ![y](z) | `cell`",
    "=1+1",
    "[bold]markup[/]",
    "{{ 7 * 7 }} %s {0} ${HOME}",
    "$\\frac{1$",
    "hf-hub:stranger/model",
    "local-dir:/",
    "__class__",
    "\ud800",
    "\U0001f600\u202e\u0301",
    "x" * 5000,
    "1" * 5000,
    "nan",
    "-1",
)
"""Texts that a stranger would try."""

HOSTILE_NUMBERS = (
    *(0, 1, -1, 2, 255, 2**31 - 1, 2**31, -(2**63), 2**63, 2**64, 10**30, 10**400),
    *(0.0, -0.0, 0.5, -1.5, 1e-300, 5e-324, 1e300, float("inf"), float("-inf"), float("nan")),
)
"""Numbers at the edges of what fields hold."""

_DEPTH = 5000
"""Deeper than Python's recursion goes."""


def texts() -> st.SearchStrategy[str]:
    """Draw hostile texts and random ones."""
    return st.sampled_from(HOSTILE_TEXTS) | st.text(max_size=20)


def values() -> st.SearchStrategy[Any]:
    """Draw JSON values of any type, NaN and infinity among them."""
    plain = st.none() | st.booleans() | st.sampled_from(HOSTILE_NUMBERS) | st.integers() | st.floats() | texts()
    return plain | st.sampled_from(([], {}, [[]], [{}], {"": None}, {"tuple": 5}, [None] * 3)) | st.lists(plain, max_size=3)


def places(document: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every value in a document, containers among them."""
    yield path
    items = document.items() if isinstance(document, dict) else (enumerate(document) if isinstance(document, list) else ())
    for key, value in items:
        yield from places(value, (*path, key))


@st.composite
def documents(draw: st.DrawFn, original: Any) -> Any:
    """Draw a document with one to three changes.

    Most changes keep a value's type, so that many documents get past the reader.
    """
    document = copy.deepcopy(original)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        path = _drawn_place(draw, document)
        if not path:
            if draw(st.integers(0, 9)) == 0:
                document = draw(values())
            continue
        parent = _at(document, path[:-1])
        kind = draw(st.sampled_from(("alike", "alike", "alike", "alike", "replace", "drop", "add", "move")))
        if kind == "alike":
            parent[path[-1]] = draw(_alike(parent[path[-1]]))
        elif kind == "replace":
            parent[path[-1]] = draw(values())
        elif kind == "drop":
            del parent[path[-1]]
        elif kind == "move":
            parent[path[-1]] = copy.deepcopy(_at(document, _drawn_place(draw, document)))
        elif isinstance(parent, dict):
            parent[draw(texts())] = draw(values())
        else:
            parent.append(draw(values()))
    return document


@st.composite
def with_one_odd_value(draw: st.DrawFn, original: Any) -> Any:
    """Draw a document of which one value is another of its type."""
    document = copy.deepcopy(original)
    leaves = [path for path in places(document) if path and not isinstance(_at(document, path), (dict, list))]
    path = leaves[draw(st.integers(0, len(leaves) - 1))]
    parent = _at(document, path[:-1])
    parent[path[-1]] = draw(_alike(parent[path[-1]]))
    return document


def _alike(value: Any) -> st.SearchStrategy[Any]:
    """Draw another value of the same type."""
    if isinstance(value, bool):
        return st.just(not value)
    if isinstance(value, (int, float)):
        near = st.sampled_from((value + 1, value - 1, -value, value * 1000, value // 3))
        return near | st.sampled_from([number for number in HOSTILE_NUMBERS if type(number) is type(value)])
    if isinstance(value, str):
        return texts()
    if isinstance(value, list):
        return st.sampled_from(([], value[:-1], value[1:], value + value, value[::-1]))
    if isinstance(value, dict) and value:
        return st.sampled_from(sorted(value)).map(lambda name: {key: each for key, each in value.items() if key != name})
    return values()


def _drawn_place(draw: st.DrawFn, document: Any) -> Path:
    found = list(places(document))
    return found[draw(st.integers(0, len(found) - 1))]


def _at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


@st.composite
def json_texts(draw: st.DrawFn, original: Any) -> bytes:
    """Draw the text of a mutated document.

    At times a value is nested without end, or the text's bytes are mutated too.
    """
    document = draw(documents(original))
    text = json.dumps(document, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    extra = draw(st.sampled_from(("none",) * 8 + ("deep", "bytes")))
    if extra == "bytes":
        return draw(changed_bytes(text))
    if extra == "deep":
        opening, closing = draw(st.sampled_from(((b"[", b"]"), (b'{"x":', b"}"))))
        deep = opening * _DEPTH + b"1" + closing * _DEPTH
        return text.replace(b":", b":" + deep + b',"deep":', 1) if draw(st.booleans()) else deep
    return text


@st.composite
def changed_bytes(draw: st.DrawFn, original: bytes) -> bytes:
    """Draw bytes with a few flips, cuts, insertions or repetitions."""
    content = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(("flip", "flip", "cut", "insert", "drop", "repeat")))
        if kind == "flip" and position < len(content):
            content[position] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del content[position:]
        elif kind == "insert":
            content[position:position] = draw(st.binary(max_size=8) | st.sampled_from((b"\xff" * 8, b"\x00" * 8, b"\n", b'"')))
        elif kind == "drop":
            del content[position : position + draw(st.integers(1, 16))]
        else:
            content += content[position : position + 64]
    return bytes(content)
