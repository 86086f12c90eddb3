"""Samples survive packing unchanged; damaged ones are refused with the file's name."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from prune_deploy.errors import InputError
from prune_deploy.measure.analysis import analyze
from prune_deploy.measure.samples import Samples, fingerprint, pack, unpack
from prune_deploy.records import to_json
from support.measuring import MS, WITH_COPY, Noise, make_blocks, make_samples, noisy_times, without_most_of


@pytest.fixture
def samples() -> Samples:
    """Three candidates, two launches, a warm-up, a copy that is often absent, readings beside every third block."""
    random = np.random.default_rng(12)
    times = noisy_times(random, (2 * MS, 2 * MS, 1 * MS), noise=Noise(), launches=2, rounds=8)
    warmup = make_blocks(times[:, :2], phase="warmup")
    timed = make_blocks(without_most_of(np.repeat(times, 3, axis=3), 1, every=2), leading=1)
    read = [block if number % 3 else replace(block, readings={"sm_clock_mhz": 1400.5}) for number, block in enumerate(timed)]
    return make_samples(times, roles=WITH_COPY, blocks=warmup + tuple(read), unsteady=((1, 2),), seed=7, rigor="full")


def test_packing_and_unpacking_changes_nothing(samples: Samples) -> None:
    """T12: what is analysed from the file is what was analysed when it was measured, to the last bit."""
    content = pack(samples)
    restored = unpack(content, source="samples/a.npz")
    assert analyze(restored) == analyze(samples)
    assert to_json(analyze(restored)) == to_json(analyze(samples))
    assert pack(restored) == content
    for before, after in zip(samples.blocks, restored.blocks, strict=True):
        assert (after.phase, after.leading, after.readings) == (before.phase, before.leading, before.readings)
        assert after.samples_ns.tolist() == before.samples_ns.tolist()


def test_samples_without_a_single_block_survive(samples: Samples) -> None:
    assert unpack(pack(replace(samples, blocks=())), source="a.npz").blocks == ()


def test_one_altered_sample_changes_the_fingerprint(samples: Samples) -> None:
    """T12, second half."""
    block = samples.blocks[-1]
    altered = block.samples_ns.copy()
    altered[-1] += 1
    other = replace(samples, blocks=(*samples.blocks[:-1], replace(block, samples_ns=altered)))
    assert fingerprint(pack(other)) != fingerprint(pack(samples))
    assert fingerprint(pack(replace(samples))) == fingerprint(pack(samples))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"{}",
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[1:],
        lambda content: content[:-30] + b"?" * 30,
    ],
    ids=["empty", "json", "last byte lost", "half lost", "first byte lost", "directory overwritten"],
)
def test_damaged_content_is_refused_by_name(samples: Samples, damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InputError, match=r"samples/a\.npz") as caught:
        unpack(damage(pack(samples)), source="samples/a.npz")
    assert caught.value.exit_code == 2


def test_a_flipped_byte_is_refused_or_harmless(samples: Samples) -> None:
    """Whatever single byte is wrong: the samples come back as they were, or not at all."""
    content = pack(samples)
    for place in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[place] ^= 0xFF
        try:
            restored = unpack(bytes(flipped), source="a.npz")
        except InputError:
            continue
        assert pack(restored) == content, place


@pytest.mark.parametrize(
    "change",
    [
        lambda samples: replace(samples, device="tpu"),
        lambda samples: replace(samples, roles=("dense", "copy", "spy")),
        lambda samples: replace(samples, candidates=(1, 2, 3)),
        lambda samples: replace(samples, seed=-1),
        lambda samples: replace(samples, unsteady=((-1, 0),)),
        lambda samples: _with_block(samples, candidate=3),
        lambda samples: _with_block(samples, launch=-1),
        lambda samples: _with_block(samples, leading=-1),
        lambda samples: _with_block(samples, samples_ns=np.array([-5, 5])),
        lambda samples: _with_block(samples, samples_ns=np.array([5, 1 << 62])),
        lambda samples: _with_block(samples, readings={"sm_clock_mhz": float("inf")}),
        lambda samples: _with_block(samples, readings={"sm_clock_mhz": 1e-300}),
        lambda samples: _with_block(samples, readings={"sm_clock_mhz": 1e17}),
        lambda samples: _with_block(samples, readings={"sm_clock_mhz": -1400.0}),
    ],
)
def test_what_no_measurement_gives_is_refused(samples: Samples, change: Callable[[Samples], Samples]) -> None:
    """A stranger's file may be whole, with the right hash, and make no sense."""
    with pytest.raises(InputError, match="no file of samples"):
        unpack(pack(change(samples)), source="here")


@pytest.mark.parametrize("clock_mhz", [0.0, 210.0, 3000.0])
def test_clocks_of_gpus_are_read_and_so_is_one_that_could_not_be(samples: Samples, clock_mhz: float) -> None:
    read = unpack(pack(_with_block(samples, readings={"sm_clock_mhz": clock_mhz})), source="here")
    assert read.blocks[0].readings == {"sm_clock_mhz": clock_mhz}


def _with_block(samples: Samples, **changes: object) -> Samples:
    return replace(samples, blocks=(replace(samples.blocks[0], **changes), *samples.blocks[1:]))  # type: ignore[arg-type]


def test_an_array_that_claims_more_than_it_holds_takes_no_memory(samples: Samples) -> None:
    """160 bytes may claim eight pebibytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (1 << 50,)})
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(pack(samples))) as before, zipfile.ZipFile(content, "w") as after:
        for name in before.namelist():
            after.writestr(name, header.getvalue() if name == "ns.npy" else before.read(name))
    with pytest.raises(InputError, match=r"ns.npy claims \(1125899906842624,\) values"):
        unpack(content.getvalue(), source="here")
