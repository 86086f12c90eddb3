"""TensorRT's one logger per process, and what it said during one piece of work.

TensorRT keeps the first logger it is given and ignores every later one, so the logger is made once and its sink is swapped.
Several failures (a rejected flag, a broken layer) are reported nowhere but here.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from prune_deploy.export.tensorrt.library import TensorRTLibrary

LAYER_TABLE_HEAD = "Layers:\n"
"""How the message begins in which the builder lists the finished engine's layers (VERBOSE, with DETAILED verbosity)."""

SPARSITY_HEAD = "(Sparsity) "
"""How the messages begin that count layers with 2:4 sparse weights."""

_SHOWN_ERRORS, _SHOWN_CHARACTERS = 4, 400
# Where in NVIDIA's sources a message comes from, and its rulers: of no use to the reader.
_NOISE = re.compile(
    r" In \w+ at /_src/[^)\s]+|^\w+\.[ch]pp:\d+: |ERROR: \w+\.[ch]pp:\d+ In function \w+: (?:\[\d+\] )?"
    r"|\[\w+\.[ch]pp:+[\w:]+\] |\[\w+\.[ch]pp:\d+: \w+\] |--- (?:Begin|End) node --- ?"
)
# Work shares one logger, so two threads that collected at once would mix their messages.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(slots=True)
class BuildLog:
    """What `logger` was told: errors and warnings as they came, the layer tables, what was said of sparse weights, and how many
    messages there were at all."""

    logger: Any
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    layer_tables: list[str] = field(default_factory=list)
    sparsity: list[str] = field(default_factory=list)
    messages: int = 0

    @property
    def is_heard(self) -> bool:
        """False if TensorRT keeps another logger, to which some or all of what matters goes."""
        return self.messages > 0 and not any("new logger is ignored" in warning for warning in self.warnings)

    def describe_errors(self) -> str:
        """The first errors, a line each, without NVIDIA's source positions; "" if there were none."""
        lines = list(dict.fromkeys(filter(None, (_NOISE.sub("", " ".join(error.split())) for error in self.errors))))
        shown = [line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}…" for line in lines][:_SHOWN_ERRORS]
        more = len(lines) - len(shown)
        return "\n".join([*shown, *([f"({more} more)"] if more else [])])


@functools.cache
def process_logger(module: Any) -> Any:
    """The ILogger that everything in this process hands to `module` (Builder, OnnxParser, Runtime)."""
    level, base_init = module.ILogger.Severity, module.ILogger.__init__
    errors, warning = (level.INTERNAL_ERROR, level.ERROR), level.WARNING

    class ProcessLogger(module.ILogger):  # type: ignore[misc]  # the base class is chosen at run time
        """Sorts messages into the current sink. Called thousands of times per build, so it does as little as possible."""

        def __init__(self) -> None:
            base_init(self)
            self.sink: BuildLog | None = None

        def log(self, severity: Any, message: str) -> None:
            sink = self.sink
            if sink is None:
                return
            sink.messages += 1
            if message.startswith(LAYER_TABLE_HEAD):
                sink.layer_tables.append(message)
            elif message.startswith(SPARSITY_HEAD):
                sink.sparsity.append(message)
            elif severity in errors:
                sink.errors.append(message)
            elif severity == warning:
                sink.warnings.append(message)

    return ProcessLogger()


@contextmanager
def collecting(library: TensorRTLibrary) -> Iterator[BuildLog]:
    """A fresh log, filled by the process's logger (`log.logger`) until the block ends. Other threads wait for the block."""
    logger = process_logger(library.module)
    with _ONE_AT_A_TIME:
        logger.sink = log = BuildLog(logger=logger)
        try:
            yield log
        finally:
            logger.sink = None
