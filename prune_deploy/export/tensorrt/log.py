"""TensorRT's one logger per process, and its messages during a build.

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
"""Beginning of the message that lists the finished engine's layers.

The builder logs it as VERBOSE, with DETAILED verbosity.
"""

SPARSITY_HEAD = "(Sparsity) "
"""Beginning of the messages that count layers with 2:4 sparse weights."""

_SHOWN_ERRORS, _SHOWN_CHARACTERS = 4, 400
# Positions in NVIDIA's sources and separator lines, which are of no use to the reader.
_NOISE = re.compile(
    r" In \w+ at /_src/[^)\s]+|^\w+\.[ch]pp:\d+: |ERROR: \w+\.[ch]pp:\d+ In function \w+: (?:\[\d+\] )?"
    r"|\[\w+\.[ch]pp:+[\w:]+\] |\[\w+\.[ch]pp:\d+: \w+\] |--- (?:Begin|End) node --- ?"
)
# Work shares one logger, so two threads that collected at once would mix their messages.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(slots=True)
class BuildLog:
    """Messages that `logger` received.

    Errors and warnings are in the order of their arrival. `messages` counts messages of all kinds.
    """

    logger: Any
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    layer_tables: list[str] = field(default_factory=list)
    sparsity: list[str] = field(default_factory=list)
    messages: int = 0

    @property
    def is_heard(self) -> bool:
        """False if TensorRT keeps another logger.

        Some or all messages that matter then go to that one.
        """
        return self.messages > 0 and not any("new logger is ignored" in warning for warning in self.warnings)

    def describe_errors(self) -> str:
        """Return the first errors, a line each, or "" if there were none.

        NVIDIA's source positions are left out.
        """
        lines = list(dict.fromkeys(filter(None, (_NOISE.sub("", " ".join(error.split())) for error in self.errors))))
        shown = [line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}…" for line in lines][:_SHOWN_ERRORS]
        more = len(lines) - len(shown)
        return "\n".join([*shown, *([f"({more} more)"] if more else [])])


@functools.cache
def process_logger(module: Any) -> Any:
    """Return the process's ILogger for `module`: Builder, OnnxParser, Runtime."""
    level, base_init = module.ILogger.Severity, module.ILogger.__init__
    errors, warning = (level.INTERNAL_ERROR, level.ERROR), level.WARNING

    class ProcessLogger(module.ILogger):  # type: ignore[misc]  # the base class is chosen at run time
        """Sorter of messages into the current sink.

        It is called thousands of times per build, so it does as little as possible.
        """

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
    """Yield a fresh log, filled until the block ends.

    The process's logger (`log.logger`) fills it. Other threads wait for the block.
    """
    logger = process_logger(library.module)
    with _ONE_AT_A_TIME:
        logger.sink = log = BuildLog(logger=logger)
        try:
            yield log
        finally:
            logger.sink = None
