"""Command lines, drawn from click's own declarations.

Most of their values are plausible, so that a few hostile ones get past the parser.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from hypothesis import strategies as st

NUMBERS = (
    *("0", "1", "2", "-1", "3", "8", "64", "0.5", "1.0", "0.3", "1e-9", "-0.0", "1e999", "-1e999", "nan", "inf", "-inf", "1e308"),
    *(
        "2147483647",
        "2147483648",
        "9223372036854775808",
        "18446744073709551616",
        "1" * 400,
        "1" * 5000,
        "1_000",
        "٣",
        "0x10",
        "½",
        " 1 ",
    ),
)
TEXTS = (
    *(
        "",
        " ",
        ",",
        ",,",
        "a,b",
        "1,",
        ":",
        "=",
        "-",
        "--",
        "%",
        "5%",
        "nan%",
        "*",
        "[",
        "[a",
        "\\",
        "'",
        '"',
        "\n",
        "\t",
        "\x1b[2J\x07",
        "\r",
    ),
    *(
        "\udcff\udcfe",
        "\U0001f600",
        "\u202e",
        "e\u0301",
        "x" * 300,
        "y" * 20000,
        "{}",
        "{0}",
        "%s",
        "$HOME",
        "[bold]",
        "None",
        "true",
    ),
)
WORDS: Mapping[str, Sequence[str]] = {
    "bundle": ("bundle",),
    "bundles": ("bundle",),
    "old": ("run", "bundle"),
    "new": ("run2", "bundle"),
    "runs": ("run", "run2"),
    "out": ("new", "new/below"),
    "spec": ("sweep.toml",),
    "resume": ("run",),
    "plan": ("bundle/plan.json",),
    "onnx": ("file",),
    "image": ("image.png",),
    "markdown": ("table.md",),
    "model": ("test_resnet", "test_vit", "nosuch", "resnet50.nosuch_tag", "hf-hub:a/b", "local-dir:/tmp", "TEST_RESNET"),
    "models": ("test_resnet", "test_resnet,test_vit", "test_resnet,test_resnet", "nosuch"),
    "families": ("test_resnet", "test_vit,test_resnet", "nosuch"),
    "method": ("l1", "l2", "random", "nosuch", "lamp"),
    "methods": ("l1", "l1,l2", "l1,l1", "random", "nosuch"),
    "masks": ("2:4", "l1-unstructured", "2:4,2:4", "nosuch"),
    "ratios": ("0.5", "0.3,0.5", "0.5,0.3", "1", "0"),
    "ratio": ("0.5", "0.3", "0.999999999", "1", "0"),
    "group_cap": ("0.9", "1"),
    "label_smoothing": ("0.1",),
    "distill": ("0.5",),
    "to_ratio": ("0.5",),
    "seeds": ("0", "0,1", "0,0", "-1"),
    "backend": ("eager", "ort", "null", "eager,ort", "ort,ort", "trt", "trt:cuda-graph", "compile", "nosuch", "ort:nosuch"),
    "precision": ("fp32", "fp16", "int8", "fp32,fp16,int8", "tf32", "bf16", "nosuch"),
    "against": ("fp16", "fp32", "nosuch"),
    "require": ("eager", "trt", "nosuch"),
    "batch": ("1", "1,8", "1:8:64", "1,1", "0", "-1"),
    "input_size": ("64", "3,64,64", "3x64x64", "1,2", "0,0,0", "-3,64,64", "3,64,99999999999"),
    "target": ("sm86", "a2000", "sm999", "auto"),
    "target_macs": ("0.5x", "2.0G", "x", "G", "-1x", "nanx", "infG", "1e999x"),
    "target_params": ("0.5x", "50M", "x", "M", "nanM"),
    "weights": ("random", "pretrained", "file", "nosuch.safetensors"),
    "data": (
        "digits",
        "digits:x",
        "imagefolder:images",
        "imagefolder:nosuch",
        "imagefolder:",
        "cifar10:images",
        "cifar100:file",
        "fashion-mnist:images",
    ),
    "val_data": ("digits", "imagefolder:images"),
    "calib": ("synthetic", "digits", "images", "imagefolder:images", "fashion-mnist:images", "file", "nosuch"),
    "ignore": ("head", "norm", "none", "head,norm,attention", "[", "*", "nosuch"),
    "int8_keep": ("blocks.0.*", "[", "*"),
    "fail_if_slower": ("3%", "0.03", "-5%", "nan%", "inf", "%", "1e999%"),
    "max_drop": ("0.5%", "0.005", "nan", "inf%"),
    "preset": ("quick", "pytorch-pruning", "resnet50-curve", "nosuch"),
    "pattern": ("*resnet18*", "[", "**", "?"),
    "protocol": ("a", "../b", "a/b"),
}
"""Plausible values of options by the name of their parameter, the most usual first."""

USUAL: Mapping[str, Sequence[str]] = {
    "export": ("--model", "test_resnet", "--ratio", "0.5", "--precision", "fp32"),
    "sweep": ("--models", "test_resnet", "--backend", "null"),
    "curve": ("--model", "test_resnet", "--backend", "null"),
    "finetune": ("--data", "digits"),
    "eval": ("--data", "digits", "--backend", "eager"),
    "bench": ("--backend", "eager"),
    "explain": ("--backend", "eager"),
    "trace": ("--backend", "eager"),
    "run": ("--backend", "eager"),
}
"""Options that a command can do its work with."""

PATHS = (
    *(
        "bundle",
        "run",
        "run2",
        "file",
        "images",
        "image.png",
        "sweep.toml",
        "empty",
        "nosuch",
        "nosuch/below",
        "new",
        "new/below",
    ),
    *(
        "fifo",
        "socket",
        "loop",
        "dangling",
        "zero",
        "locked",
        "locked/new",
        "file/below",
        ".",
        "..",
        "",
        " ",
        "-",
        "~",
        "bundle/bundle.json",
    ),
    *(
        "run/records.jsonl",
        "run/run.json",
        "bundle/weights.safetensors",
        "x" * 300,
        "new\udcff",
        "n\U0001f600",
        "new\nline",
        "/proc/new",
    ),
    *("/dev/null/new", "/dev/full", "new" + "/a" * 3000),
)
"""Paths within the folder of the commands, and some where nothing can be written."""


def make_oddities(folder: Path) -> None:
    """Make what `PATHS` name and no file or folder of ours is."""
    (folder / "file").write_text("text\n")
    (folder / "empty").mkdir()
    (folder / "locked").mkdir(mode=0o500)
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nothing-there")
    (folder / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(folder / "socket"))


@st.composite
def command_lines(draw: st.DrawFn, name: str, command: click.Command) -> list[str]:
    """Draw a command's arguments: some options, and the positional ones.

    Few, half or no values are hostile, so that some lines get far.
    """
    hostile = draw(st.sampled_from((0, 0, 1, 5)))
    options = [each for each in command.params if isinstance(each, click.Option)]
    positional = [each for each in command.params if isinstance(each, click.Argument)]
    line = list(USUAL.get(name, ())) if draw(st.integers(0, 3)) else []
    for option in draw(st.lists(st.sampled_from(options), max_size=4)):
        line += _written(draw, option, hostile)
    for each in positional:
        count = draw(st.sampled_from((1, 1, 1, 2, 0))) if each.nargs == -1 else 1
        line += [draw(_values(each, hostile)) for _ in range(count)]
    if hostile and draw(st.integers(0, 9)) == 0:
        line.insert(draw(st.integers(0, len(line))), draw(st.sampled_from(("--nosuch", "--", "-x", "extra", "--help", "--out"))))
    return line


def _written(draw: st.DrawFn, option: click.Option, hostile: int) -> list[str]:
    name = draw(st.sampled_from([*option.opts, *option.secondary_opts]))
    if option.is_flag:
        return [name if not hostile or draw(st.integers(0, 9)) else f"{name}=1"]
    value = draw(_values(option, hostile))
    return [f"{name}={value}"] if draw(st.booleans()) else [name, value]


def _values(parameter: click.Parameter, hostile: int) -> st.SearchStrategy[str]:
    """Draw values of a parameter, `hostile` tenths of them hostile."""
    odd = st.sampled_from(NUMBERS) | st.sampled_from(TEXTS) | st.sampled_from(PATHS) | _random_texts()
    return st.integers(0, 9).flatmap(lambda number: odd if number < hostile else _plausible(parameter))


def _plausible(parameter: click.Parameter) -> st.SearchStrategy[str]:
    kind = parameter.type
    if isinstance(kind, click.Choice):
        return st.sampled_from([str(choice) for choice in kind.choices])
    if (words := WORDS.get(parameter.name or "")) is not None:
        return st.just(words[0]) | st.sampled_from(words)
    return st.sampled_from(("1", "2", "8"))


def _random_texts() -> st.SearchStrategy[str]:
    """Draw texts that an operating system can hand over.

    They lead neither to the root of the file system nor above their folder.
    """
    return st.text(st.characters(codec="utf-8", exclude_characters="\x00/"), max_size=12)
