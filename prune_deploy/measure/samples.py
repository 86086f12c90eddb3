"""Raw nanoseconds of one comparison.

They are what is stored, and all that the analysis reads.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from prune_deploy.errors import InputError
from prune_deploy.records import Role
from prune_deploy.specs import Device, Mode, Rigor

Phase = Literal["warmup", "timed"]
_PHASES: tuple[Phase, ...] = ("warmup", "timed")
# The errors that numpy, zipfile and zlib raise for flipped bytes.
_DAMAGE = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, EOFError, OSError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
_MOST_BYTES = 2 << 30
_LONGEST_RUN_NS = 86_400 * 10**9
_LARGEST_READING = 1e18
_CLOCKS_MHZ = (1.0, 1e5)
"""A megahertz and 100 gigahertz. 0 is a clock that could not be read."""

CLOCK = "sm_clock_mhz"
"""Reading by which times become clock cycles."""

_COLUMNS = ("candidate", "launch", "round", "position", "phase", "leading", "started_ns", "runs")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Runs of one candidate in a row.

    `samples_ns`, shape (runs,), holds all of them. The first `leading` are not counted. `round` counts passes over all candidates
    within a launch, `position` the place in the pass. Rounds 2k and 2k+1 go through the candidates in opposite orders.
    `started_ns` is the clock when the block began. `readings` is telemetry taken beside it.
    """

    candidate: int
    launch: int
    round: int
    position: int
    phase: Phase
    started_ns: int
    leading: int
    samples_ns: NDArray[np.int64]
    readings: dict[str, float] = field(default_factory=dict)

    @property
    def counted_ns(self) -> NDArray[np.int64]:
        """The samples that count, shape (runs - leading,)."""
        return self.samples_ns[self.leading :]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """Every block of a comparison, in the order of time.

    `candidates` are labels and `roles` are in the same order, one of them dense. `unsteady` are the candidates that had not
    settled when their warm-up ended, one (launch, candidate) pair each.
    """

    candidates: tuple[str, ...]
    roles: tuple[Role, ...]
    device: Device
    mode: Mode
    rigor: Rigor
    seed: int
    blocks: tuple[Block, ...]
    unsteady: tuple[tuple[int, int], ...] = ()

    @property
    def dense(self) -> int:
        """Index of the dense candidate, the baseline."""
        return self.roles.index("dense")

    @property
    def copy(self) -> int | None:
        """Index of A′, the dense model's independent copy."""
        return self.roles.index("copy") if "copy" in self.roles else None


def pack(samples: Samples) -> bytes:
    """Encode the samples as the content of an .npz file.

    The same samples give the same bytes.
    """
    readings = sorted({name for block in samples.blocks for name in block.readings})
    header = {
        "candidates": samples.candidates,
        "roles": samples.roles,
        "device": samples.device,
        "mode": samples.mode,
        "rigor": samples.rigor,
        "seed": samples.seed,
        "unsteady": samples.unsteady,
        "readings": readings,
    }
    blocks = samples.blocks
    arrays: dict[str, NDArray[Any]] = {
        "header": np.frombuffer(json.dumps(header, sort_keys=True).encode(), dtype=np.uint8),
        "blocks": np.array([_row(block) for block in blocks], dtype=np.int64).reshape(len(blocks), len(_COLUMNS)),
        "ns": np.concatenate([np.zeros(0, np.int64), *(block.samples_ns for block in blocks)]),
    }
    for name in readings:
        arrays[f"reading_{name}"] = np.array([block.readings.get(name, np.nan) for block in blocks], dtype=np.float64)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _row(block: Block) -> tuple[int, ...]:
    phase = _PHASES.index(block.phase)
    runs = len(block.samples_ns)
    return block.candidate, block.launch, block.round, block.position, phase, block.leading, block.started_ns, runs


def _check_claims(content: bytes) -> None:
    """Refuse arrays whose headers claim more than their members hold.

    This comes before memory is taken for them.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > _MOST_BYTES:
            raise ValueError(f"its arrays take more than {_MOST_BYTES >> 20} MiB")
        for member in members:
            with archive.open(member) as stream:
                np.lib.format.read_magic(stream)
                shape, _, kind = np.lib.format.read_array_header_1_0(stream)
                if kind.hasobject or math.prod(shape) * kind.itemsize > member.file_size:
                    raise ValueError(f"{member.filename} claims {shape} values of {kind}")


def unpack(content: bytes, *, source: str) -> Samples:
    """Decode the content of an .npz file that `pack` made.

    `source` names the file in errors.

    Raises:
        InputError: the content is damaged, or is of another kind.
    """
    try:
        _check_claims(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays["header"].tobytes())
        ends = np.cumsum(arrays["blocks"][:, -1])
        if arrays["ns"].dtype != np.int64 or len(arrays["ns"]) != (ends[-1] if len(ends) else 0):
            raise ValueError("blocks and samples do not fit together")
        if {*arrays} != {"header", "blocks", "ns", *(f"reading_{name}" for name in header["readings"])}:
            raise ValueError("the readings are not those that were stored")
        if header["roles"].count("dense") != 1 or len(header["roles"]) != len(header["candidates"]):
            raise ValueError("not exactly one candidate is dense")
        blocks = tuple(_block(arrays, number, int(end)) for number, end in enumerate(ends))
        samples = Samples(
            candidates=tuple(header["candidates"]),
            roles=tuple(header["roles"]),
            device=header["device"],
            mode=header["mode"],
            rigor=header["rigor"],
            seed=header["seed"],
            blocks=blocks,
            unsteady=tuple((launch, candidate) for launch, candidate in header["unsteady"]),
        )
        _check_sense(samples)
        return samples
    except _DAMAGE as error:
        raise InputError(f"{source} is no file of samples: {error}", fix="restore it, or measure again") from error


def _check_sense(samples: Samples) -> None:
    """Refuse what no measurement gives.

    The analysis computes with all of it.
    """
    words = (*samples.candidates, *samples.roles)
    known = ((samples.device, Device), (samples.mode, Mode), (samples.rigor, Rigor), *((role, Role) for role in samples.roles))
    if not all(isinstance(word, str) for word in words) or not all(word in get_args(choices) for word, choices in known):
        raise ValueError("the header names what does not exist")
    numbers = (samples.seed, *(number for pair in samples.unsteady for number in pair))
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("the header counts below zero")
    for block in samples.blocks:
        if not 0 <= block.candidate < len(samples.candidates) or min(block.launch, block.round, block.leading) < 0:
            raise ValueError("a block is of no candidate or launch")
        if block.samples_ns.size and not 0 <= block.samples_ns.min() <= block.samples_ns.max() <= _LONGEST_RUN_NS:
            raise ValueError("a run took less than nothing, or more than a day")
        if not all(abs(reading) <= _LARGEST_READING for reading in block.readings.values()):
            raise ValueError("a reading is not finite, or too large")
        clock_mhz = block.readings.get(CLOCK, 0.0)
        if clock_mhz and not _CLOCKS_MHZ[0] <= clock_mhz <= _CLOCKS_MHZ[1]:
            raise ValueError(f"a clock of {clock_mhz:g} MHz is none")


def _block(arrays: dict[str, NDArray[Any]], number: int, end: int) -> Block:
    candidate, launch, round_, position, phase, leading, started_ns, runs = (int(value) for value in arrays["blocks"][number])
    readings = {name.removeprefix("reading_"): float(arrays[name][number]) for name in arrays if name.startswith("reading_")}
    return Block(
        candidate=candidate,
        launch=launch,
        round=round_,
        position=position,
        phase=_PHASES[phase],
        started_ns=started_ns,
        leading=leading,
        samples_ns=arrays["ns"][end - runs : end],
        readings={name: value for name, value in readings.items() if not np.isnan(value)},
    )


def fingerprint(content: bytes) -> str:
    """Return the SHA-256 of packed samples, hexadecimal."""
    return hashlib.sha256(content).hexdigest()
