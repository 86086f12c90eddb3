"""Chrome traces: gzip'd JSON that Perfetto and chrome://tracing open.

Source: "Trace Event Format", the document that both viewers name as their input format.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

# They name the machine and its folders, which the recipient of the file must not see.
_PRIVATE = ("host_name", "traceName")


def packed(chrome: dict[str, Any], *, label: str) -> bytes:
    """Return a trace as gzip'd JSON.

    `label` names in it what was traced. The same trace gives the same bytes.
    """
    document = {**{key: value for key, value in chrome.items() if key not in _PRIVATE}, "label": label}
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return gzip.compress(text.encode(errors="backslashreplace"), mtime=0)


def complete_event(name: str, *, begin_us: float, duration_us: float, track: int = 0, **arguments: Any) -> dict[str, Any]:
    """Return one event with a beginning and a duration, in microseconds."""
    return {"ph": "X", "name": name, "ts": begin_us, "dur": duration_us, "pid": 0, "tid": track, "args": arguments}
