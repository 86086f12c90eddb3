"""Values of options as specs hold them, and specs from parsed options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from prune_deploy.errors import InputError
from prune_deploy.specs.options import SPEC_OPTIONS

S = TypeVar("S")
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


_BACKENDS = {
    "tensorrt": "trt",
    "trt-rtx": "trt",
    "onnxruntime": "ort",
    "pytorch": "eager",
    "torch": "eager",
    "torch.compile": "compile",
    "inductor": "compile",
}
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16"}
"""Other names in use."""


class _Parsed(click.ParamType[Any]):
    """Parameter type that parses a text with a function.

    Defaults that are values already stay.
    """

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self._parse(value) if isinstance(value, str) else value


class ListOption(click.Option):
    """Option that takes a comma list.

    It accepts older spellings, which the help leaves out.
    """

    def __init__(self, *arguments: Any, aliases: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.aliases = tuple(aliases)

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        if self.aliases:
            parser.add_option(self, opts=list(self.aliases), dest=self.name, action="store", nargs=1)


def words(text: str) -> tuple[str, ...]:
    """Return the words of a comma list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def backend_words(text: str) -> tuple[str, ...]:
    """Return the backends of a comma list by their names here."""
    pairs = (word.partition(":") for word in words(text))
    return tuple(f"{_BACKENDS.get(name.lower(), name.lower())}{colon}{variant}" for name, colon, variant in pairs)


def precision_words(text: str) -> tuple[str, ...]:
    """Return the precisions of a comma list by their names here."""
    return tuple(_PRECISIONS.get(word.lower(), word.lower()) for word in words(text))


def parse_batches(text: str) -> tuple[int, ...]:
    """Return the numbers of "1,8,64". "1:8:64" is the older spelling.

    Raises:
        InputError: not such a text.
    """
    try:
        sizes = tuple(int(part) for part in text.replace(":", ",").split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1 or len(set(sizes)) < len(sizes):
        fix = "list different batch sizes, for example `batches=(1, 8, 64)`"
        raise InputError(f"`batches` got {text!r}", fix=fix, field="batches")
    return sizes


def parse_size(text: str) -> tuple[int, int, int]:
    """Return (channels, height, width) of "3,224,224", "3x224x224" or "224".

    Raises:
        InputError: not such a text.
    """
    parts = text.replace("x", ",").split(",")
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers = [3, numbers[0], numbers[0]]
    if len(numbers) != 3:
        fix = "give channels,height,width, for example `input_size=(3, 224, 224)`"
        raise InputError(f"`input_size` got {text!r}", fix=fix, field="input_size")
    return numbers[0], numbers[1], numbers[2]


def share_of(field: str, example: str) -> click.ParamType[Any]:
    """Return the type of a share: "0.5%" is 0.005, plain numbers stay."""

    def parse(text: str) -> float:
        try:
            return float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            raise InputError(f"`{field}` got {text!r}, not a share", fix=f"for example {example}", field=field) from None

    return _Parsed("share", parse)


def numbers_of(field: str, kind: Callable[[str], Any], example: str) -> click.ParamType[Any]:
    """Return the type of a comma list of numbers."""

    def parse(text: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(word) for word in words(text))
        except ValueError:
            fix = f"list numbers, for example `{field}={example}`"
            raise InputError(f"`{field}` got {text!r}", fix=fix, field=field) from None

    return _Parsed("numbers", parse)


WORDS = _Parsed("list", words)
BACKENDS = _Parsed("list", backend_words)
PRECISIONS = _Parsed("list", precision_words)
BATCHES = _Parsed("list", parse_batches)
SIZE = _Parsed("size", parse_size)
SHARE = share_of("max_drop", "--max-drop 0.5% or 0.005")
RATIO = share_of("ratio", "--ratio 0.5 or 50%")


def only(values: Mapping[str, Any], option: str, what: str) -> Any:
    """Return the one value of an option, None without it.

    Elsewhere the option takes a comma list.

    Raises:
        InputError: it names several values, or none.
    """
    given = values[option]
    if given is None:
        return None
    if len(given) != 1:
        named = ",".join(map(str, given)) or "none"
        raise InputError(f"--{option} takes one {what} in this command, got {named}", fix=f"name one {what}", field=option)
    return given[0]


def complete_list(names: Callable[[], Sequence[str]]) -> Complete:
    """Return a shell completion of the last word of a comma list."""

    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(f"{before}{comma}{name}") for name in names() if name.startswith(last)]

    return complete


def parameter(option: str) -> str:
    """Return the name under which click hands on an option's value."""
    return option.removeprefix("--").replace("-", "_")


def fields_given(spec: type, given: set[str]) -> dict[str, str]:
    """Map the `given` parameters to the fields that they set."""
    return {parameter(option): field for field, option in SPEC_OPTIONS[spec].items() if parameter(option) in given}


def spec_fields(spec: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a spec that have options, with their values."""
    return {field: values[name] for name, field in fields_given(spec, set(values)).items()}


def build(spec: type[S], values: Mapping[str, Any], **own: Any) -> S:
    """Return the spec that parsed options make.

    `own` fields go first, and a field without an option keeps its default.

    Raises:
        InputError: a value is out of its range.
    """
    return spec(**(spec_fields(spec, values) | own))
