"""Calibration: which images it takes, what it refuses, what it keeps, and that it holds no more than a batch in memory."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from prune_deploy.data import CalibrationImages, calibration_images, open_images
from prune_deploy.data.files import calibration_sha256
from prune_deploy.errors import InputError
from prune_deploy.export.int8.calibration import Ranges, calibrate
from prune_deploy.specs import CalibrationMethod
from support.fakes.recorded_progress import RecordedProgress
from support.models.int8_models import SIZE, fp32, own_cache, preprocessing, quantized

__all__ = ["fp32", "own_cache"]  # fixtures


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve images of several sizes and modes in folders of any depth."""
    random = np.random.default_rng(0)
    for number in range(12):
        path = tmp_path / "photos" / ("deep/er" if number % 3 else ".") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert("L" if number % 2 else "RGB").save(path)
    return tmp_path / "photos"


def _one_convolution(path: Path, weight: float = 1.0) -> Path:
    """A network of one convolution with 16 outputs, all weights the same, whose output `doubled` is squared."""
    tensors = [numpy_helper.from_array(np.full((16, 3, 3, 3), weight, np.float32), "w")]
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["doubled"], "conv"),
        helper.make_node("Mul", ["doubled", "doubled"], ["squared"], "square"),
        helper.make_node("GlobalAveragePool", ["squared"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["logits"], "flatten"),
    ]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 16])],
        tensors,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    return path


def _ranges(
    source: Path, calibration: str, samples: int, progress: RecordedProgress, method: CalibrationMethod = "minmax"
) -> Ranges:
    images = CalibrationImages(calibration, preprocessing(), samples)
    tensors = ["input", "doubled", "squared"]
    sha256 = calibration_sha256(calibration, samples)
    return calibrate(source, tensors, ["squared"], images, method, progress, sha256=sha256)


def test_ranges_are_those_of_all_images(tmp_path: Path, photos: Path) -> None:
    source, progress = _one_convolution(tmp_path / "model.onnx"), RecordedProgress()
    ranges = _ranges(source, str(photos), 12, progress)
    inputs = calibration_images(str(photos), preprocessing(), 12).numpy()
    session = onnxruntime.InferenceSession(_with_output(source, "doubled"), providers=["CPUExecutionProvider"])
    doubled = session.run(["doubled"], {"input": inputs})[0]
    assert ranges.tensors["input"] == (inputs.min(), inputs.max())
    assert ranges.tensors["doubled"] == pytest.approx((doubled.min(), doubled.max()), rel=1e-6)
    assert (ranges.images, ranges.unreadable) == (12, 0)
    assert len(ranges.channels["squared"][0]) == SIZE - 2  # the last axis
    assert progress.advances[-1] == (12, 12, "")


def _with_output(source: Path, tensor: str) -> bytes:
    model = onnx.load(source)
    model.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_other_methods_cut_what_is_rare(tmp_path: Path, photos: Path, method: CalibrationMethod) -> None:
    source = _one_convolution(tmp_path / "model.onnx")
    widest, cut = (_ranges(source, str(photos), 12, RecordedProgress(), each) for each in ("minmax", method))
    assert cut.tensors.keys() == widest.tensors.keys()
    for name, (low, high) in cut.tensors.items():
        assert widest.tensors[name][0] <= low <= high <= widest.tensors[name][1]
    assert cut.tensors["squared"][1] < widest.tensors["squared"][1]


@pytest.mark.parametrize("word", ["digits", "synthetic"])
def test_images_that_need_no_folder(word: str) -> None:
    images = CalibrationImages(word, preprocessing(), 20)
    batches = list(images.batches(8))
    assert [batch.inputs.shape for batch in batches] == [(8, 3, SIZE, SIZE)] * 2 + [(4, 3, SIZE, SIZE)]
    assert {batch.inputs.dtype for batch in batches} == {np.dtype(np.float32)}
    everything = np.concatenate([batch.inputs for batch in batches])
    others = np.concatenate([batch.inputs for batch in images.batches(5)])
    np.testing.assert_array_equal(everything, others)
    assert images.classes == (10 if word == "digits" else 0)
    assert len(calibration_images(word, preprocessing(), 6)) == 6


def test_digits_are_those_to_learn_from() -> None:
    learnt, tested = (
        {np.asarray(found.read(number)).tobytes() for number in range(len(found.names))}
        for found in (open_images("digits", "train"), open_images("digits", "test"))
    )
    images = CalibrationImages("digits", preprocessing(), 64)
    assert images._images is not None
    chosen = {np.asarray(images._images.read(number)).tobytes() for number in range(64)}
    assert chosen <= learnt
    assert not chosen & tested


def test_images_of_any_size_and_grey_ones_become_the_models_input(photos: Path) -> None:
    assert calibration_images(str(photos), preprocessing(), 12).shape == (12, 3, SIZE, SIZE)
    assert calibration_images(str(photos), preprocessing(channels=1), 5).shape == (5, 1, SIZE, SIZE)


def test_channels_that_no_image_has(photos: Path) -> None:
    with pytest.raises(InputError, match="the model takes 4 channels"):
        CalibrationImages(str(photos), preprocessing(channels=4), 12)
    assert calibration_images("synthetic", preprocessing(channels=4), 2).shape == (2, 4, SIZE, SIZE)


def test_an_empty_folder_and_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    for folder, complaint in (("empty", "holds no images"), ("absent", "there is no folder")):
        for look in (lambda path: CalibrationImages(path, preprocessing(), 8), lambda path: calibration_sha256(path, 8)):
            with pytest.raises(InputError, match=complaint) as error:
                look(str(tmp_path / folder))
            assert "`calibration" in error.value.message
            assert error.value.fix
    with pytest.raises(InputError, match=r"`calibration='cifar10:.*holds no CIFAR10"):
        CalibrationImages(f"cifar10:{tmp_path / 'empty'}", preprocessing(), 8)


def test_damaged_images_are_counted_unless_there_are_no_others(fp32: Path, tmp_path: Path, photos: Path) -> None:
    for name in ("02.png", "05.png"):
        path = next(photos.rglob(name))
        path.write_bytes(path.read_bytes()[:100])
    file = quantized(fp32 / "test_resnet.onnx", tmp_path, "tensorrt", calibration=str(photos), samples=12)
    assert file.quantization.calibration is not None
    assert (file.quantization.calibration.images, file.quantization.calibration.unreadable) == (10, 2)
    images = CalibrationImages(str(photos), preprocessing(), 12)
    assert sum(len(batch.inputs) for batch in images.batches(4)) == 10
    assert sorted(Path(name).name for name in images.unreadable) == ["02.png", "05.png"]
    for path in photos.rglob("*.png"):
        path.write_bytes(b"\x89PNG and no more")
    with pytest.raises(InputError, match="none of 12 images can be read"):
        quantized(fp32 / "test_resnet.onnx", tmp_path, "tensorrt", calibration=str(photos), samples=12)


@pytest.mark.parametrize(
    ("weight", "what"), [(1e25, "infinite values in the tensor squared"), (np.nan, "NaN values in the tensor doubled")]
)
def test_values_that_are_no_numbers_name_their_tensor(tmp_path: Path, weight: float, what: str) -> None:
    source = _one_convolution(tmp_path / "model.onnx", weight)
    with pytest.raises(InputError, match=f"lead to {what}"):
        _ranges(source, "synthetic", 4, RecordedProgress())


def test_one_bad_image_among_good_ones_is_found(tmp_path: Path) -> None:
    class OneBad(CalibrationImages):
        def batches(self, size, count=None):  # type: ignore[no-untyped-def]
            for number, batch in enumerate(super().batches(1, count)):
                if number == 2:
                    batch.inputs[0, 0, 0, 0] = np.nan
                yield batch

    source, images = _one_convolution(tmp_path / "model.onnx"), OneBad("synthetic", preprocessing(), 4)
    with pytest.raises(InputError, match="NaN values in the tensor input"):
        calibrate(source, ["input", "doubled"], [], images, "minmax", RecordedProgress(), sha256="")


def test_images_that_are_all_the_same_flat_one(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    for number in range(3):
        Image.new("RGB", (64, 64), (127, 127, 127)).save(tmp_path / "flat" / f"{number}.png")
    with pytest.raises(InputError, match="every pixel of every image is the same"):
        _ranges(_one_convolution(tmp_path / "model.onnx"), str(tmp_path / "flat"), 3, RecordedProgress())


def test_a_layer_that_is_always_zero_is_no_error(tmp_path: Path) -> None:
    file = quantized(_one_convolution(tmp_path / "zero.onnx", 0.0), tmp_path, "onnxruntime")
    assert file.quantization.quantized == 1
    assert file.quantization.cosine == 0.0  # of nothing but zeros there is none


def test_ranges_are_kept_and_used_again(tmp_path: Path, own_cache: Path) -> None:
    source, progress = _one_convolution(tmp_path / "model.onnx"), RecordedProgress()
    first = _ranges(source, "synthetic", 4, progress)
    assert [path.suffix for path in own_cache.iterdir()] == [".json"]
    again = RecordedProgress()
    assert _ranges(source, "synthetic", 4, again) == first
    assert (again.stages, again.advances) == ([], [])
    (message,) = again.notes
    assert "are in the cache" in message
    for change in ((source, "synthetic", 5, "minmax"), (source, "digits", 4, "minmax"), (source, "synthetic", 4, "percentile")):
        other = RecordedProgress()
        _ranges(*change[:3], other, change[3])
        assert other.advances
    _one_convolution(source, 2.0)
    other = RecordedProgress()
    assert _ranges(source, "synthetic", 4, other) != first
    assert other.advances


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"tensors": {"input": [0]}}', '{"tensors": {"a": [NaN, 1]}, "channels": {}}', "\0", "{}"]
)
def test_a_damaged_cache_is_said_and_written_anew(tmp_path: Path, own_cache: Path, content: str) -> None:
    source, progress = _one_convolution(tmp_path / "model.onnx"), RecordedProgress()
    first = _ranges(source, "synthetic", 4, progress)
    (path,) = own_cache.iterdir()
    whole = path.read_text()
    path.write_text(content)
    assert _ranges(source, "synthetic", 4, progress) == first
    assert any("damaged" in message for message in progress.notes)
    assert path.read_text() == whole
    assert json.loads(whole)["images"] == 4


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    progress = RecordedProgress()
    assert _ranges(_one_convolution(tmp_path / "model.onnx"), "synthetic", 4, progress).images == 4
    assert any("cannot be kept" in message for message in progress.notes)


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_many_images_need_no_more_memory_than_few(tmp_path: Path, method: CalibrationMethod) -> None:
    source = _one_convolution(tmp_path / "model.onnx")
    _ranges(source, "synthetic", 1, RecordedProgress(), method)  # what is loaded once
    peaks = []
    for samples in (16, 512):
        tracemalloc.start()
        _ranges(source, "synthetic", samples, RecordedProgress(), method)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2 + (1 << 20)


def test_the_hash_is_of_the_images_that_are_used(tmp_path: Path, photos: Path) -> None:
    before = calibration_sha256(str(photos), 6)
    assert calibration_sha256(str(photos), 6) == before
    assert calibration_sha256(str(photos), 7) != before
    copy = tmp_path / "elsewhere"
    photos.rename(copy)
    assert calibration_sha256(str(copy), 6) == before
    images = CalibrationImages(str(copy), preprocessing(), 6)
    assert images._images is not None
    used = {str(path) for path in map(Path, images._images.names)}
    unused = next(path for path in sorted(copy.rglob("*.png")) if str(path) not in used)
    unused.write_bytes(b"other")
    assert calibration_sha256(str(copy), 6) == before
    Path(sorted(used)[0]).write_bytes(b"other")
    assert calibration_sha256(str(copy), 6) != before


def test_the_hash_of_labelled_images_reads_those_that_are_chosen(photos: Path) -> None:
    word = f"imagefolder:{photos.parent}"  # its one class is "photos"
    images = CalibrationImages(word, preprocessing(), 5)
    assert images._images is not None
    digest = hashlib.sha256(b"imagefolder 5\n")
    for name in images._images.names:
        content = hashlib.sha256((photos.parent / name).read_bytes()).hexdigest()
        digest.update(f"{Path(name).as_posix()}\n{content}\n".encode())
    assert calibration_sha256(word, 5) == digest.hexdigest()
