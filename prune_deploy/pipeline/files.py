"""Files of a bundle that runtimes open.

They are ONNX in each precision, then engines, each one compared with the module.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from prune_deploy.backends.onnxruntime.layers import ort_share
from prune_deploy.data import calibration_images
from prune_deploy.errors import BuildError, CannotRunError
from prune_deploy.evaluation.engine_parity import check_engine_parity
from prune_deploy.evaluation.parity import CALIBRATION_IMAGES, Remembered, onnx_parity, require_passed
from prune_deploy.export import bundle
from prune_deploy.export.half.convert import convert
from prune_deploy.export.onnx import export_onnx
from prune_deploy.export.tensorrt.engine import build_engine, engine_file_name
from prune_deploy.export.tensorrt.library import TensorRTLibrary, choose_library
from prune_deploy.gpus import local_target
from prune_deploy.interfaces import Progress
from prune_deploy.pipeline.background import Background, BesideProgress, Stoppable, return_freed_memory
from prune_deploy.records import RTX_INT8, Artifact, Parity
from prune_deploy.specs import PRECISIONS, EngineBuild, ExportSpec, Precision, QuantizeSpec

if TYPE_CHECKING:
    from prune_deploy.export.int8.quantize import Int8File
    from prune_deploy.models import LoadedModel
    from prune_deploy.pipeline.export import Network


class ArtifactMaker:
    """Maker of a bundle's ONNX files and engines.

    It makes the files that `spec` asks for, in the folder `working`, from a network.
    """

    def __init__(self, spec: ExportSpec, network: Network, working: Path, progress: Progress) -> None:
        self._spec, self._loaded, self._working, self._progress = spec, network.loaded, working, progress
        self._size = network.loaded.resolved.input_size
        self._trained = network.is_trained
        self._answers = Stoppable(Remembered(network.loaded.module))
        self._images: torch.Tensor | None = None

    def make(self) -> tuple[list[Artifact], str]:
        """Make ONNX files and engines, with a note on the engines.

        The FP32 file comes first, and the others are derived from it. There may be no engine, and the note then says why.

        Raises:
            BuildError: the export failed, or a file's layers are not what its label says.
            ParityError: a file or an engine does not compute what the module computes.
            InputError: calibration images that cannot be used, or an imported INT8 file that does not fit.
            CannotRunError, StorageError: as `build_engine`.
        """
        self._progress.stage("export onnx")
        paths = export_onnx(self._loaded.module, self._size, self._working / bundle.ONNX_FILE)
        derived = [each for each in self._spec.precisions if PRECISIONS[each].is_half or PRECISIONS[each].needs_calibration]
        if not derived:
            return self._with_engines_beside(paths)
        artifacts = self._described(paths, "fp32", self._parity(paths[0], "fp32"))
        for precision in derived:
            artifacts += self._half(precision) if PRECISIONS[precision].is_half else self._int8()
        engines, note = self._engines()
        return artifacts + engines, note

    def _with_engines_beside(self, paths: Sequence[Path]) -> tuple[list[Artifact], str]:
        """Check the FP32 file while its engine is built."""
        reporter = self._progress
        reporter.stage("check onnx", paths[0].name)
        return_freed_memory()  # pruning and the exporter have freed much that the allocator keeps

        def compared() -> Parity:
            parity = self._compared(paths[0], "fp32")
            return_freed_memory()
            return parity

        with Background(compared, self._answers.stop) as check:
            self._progress = beside = BesideProgress(reporter, check)
            engines, note = self._engines()
            parity = beside.finish()
        self._progress = reporter
        return self._described(paths, "fp32", parity) + engines, note

    def _engines(self) -> tuple[list[Artifact], str]:
        """Make an engine for each precision, and a note on them."""
        request = self._spec.engine
        if request.library == "none":
            return [], "no engine: `library='none'`"
        try:
            library = choose_library(request.library, request.target)
        except CannotRunError as error:
            if request.library != "auto":
                raise
            return [], f"no engine: {error.message}; {error.fix}"
        artifacts = [self._engine(build, library) for build in self._spec.engines]
        return artifacts, _engine_note(artifacts, library)

    def _half(self, precision: Precision) -> list[Artifact]:
        self._progress.stage("convert", precision)
        source = self._working / bundle.ONNX_FILE
        paths, conversion = convert(source, self._working / bundle.onnx_file(precision), precision)
        parity = self._parity(paths[0], precision)
        share = None if parity.status == "not_run" else ort_share(paths[0], precision)
        return self._described(paths, precision, parity, conversion=conversion, share=share)

    def _int8(self) -> list[Artifact]:
        from prune_deploy.export.int8.quantize import accept_int8, make_int8  # they import ONNX Runtime

        spec = self._spec.quantize
        assert spec is not None, "int8 comes with its request"
        source = self._working / bundle.ONNX_FILE
        if spec.onnx is not None:
            self._progress.stage("import int8", spec.onnx)
            return self._int8_artifacts(accept_int8(Path(spec.onnx), source, self._working))
        files = make_int8(source, self._working, spec, self._loaded.preprocessing, progress=self._progress)
        return [artifact for file in files for artifact in self._int8_artifacts(file)]

    def _int8_artifacts(self, file: Int8File) -> list[Artifact]:
        graph = file.paths[0]
        # The other placement is not meant for ONNX Runtime's CPU kernels, so the types they use for it say nothing.
        share = ort_share(graph, "int8") if file.quantization.placement == "onnxruntime" else None
        if share is not None and not share.computing:
            raise BuildError(
                f"int8 was asked for, but ONNX Runtime computes none of the {share.layers} layers of {graph.name} in INT8",
                fix="quantise more of it: fewer in `keep`, a larger `max_drop`",
            )
        parity = self._parity(graph, "int8", self._calibration_images())
        return self._described(file.paths, "int8", parity, quantization=file.quantization, share=share)

    def _calibration_images(self) -> torch.Tensor:
        if self._images is None:
            assert self._spec.quantize is not None
            self._images = _images(self._spec.quantize, self._loaded)
        return self._images

    def _parity(self, graph: Path, precision: Precision, images: torch.Tensor | None = None) -> Parity:
        """Compare an ONNX file with the module.

        It runs in ONNX Runtime's CPU provider, where that has the types.
        """
        self._progress.stage("check onnx", graph.name)
        return self._compared(graph, precision, images)

    def _compared(self, graph: Path, precision: Precision, images: torch.Tensor | None = None) -> Parity:
        parity = onnx_parity(self._answers, graph, self._size, precision, images, trained=self._trained)
        require_passed(graph.name, parity, precision)
        return parity

    def _described(self, paths: Sequence[Path], precision: Precision, parity: Parity, **more: object) -> list[Artifact]:
        """Return the records of an ONNX file and of its data file."""
        graph, *data = paths
        first = bundle.describe(graph, "onnx", precision=precision, parity=parity, **more)
        return [first, *(bundle.describe(path, "onnx-data", precision=precision) for path in data)]

    def _engine(self, spec: EngineBuild, library: TensorRTLibrary) -> Artifact:
        self._progress.stage("build engine", f"{spec.precision} engine with {library.name} {library.version} for {spec.target}")
        path = self._working / engine_file_name(spec, library)
        record = build_engine(self._working / bundle.onnx_file(spec.precision), spec, path, progress=self._progress)
        if local_target() is not None:
            self._progress.stage("check engine", path.name)
        images = self._calibration_images() if PRECISIONS[spec.precision].needs_calibration else None
        parity = check_engine_parity(self._answers, path, record, self._size, images=images, trained=self._trained)
        require_passed(path.name, parity, spec.precision)
        return bundle.describe(path, "engine", precision=record.precision, parity=parity, engine=record)


def _images(spec: QuantizeSpec, loaded: LoadedModel) -> torch.Tensor:
    return calibration_images(spec.calibration, loaded.preprocessing, CALIBRATION_IMAGES, spec.samples)


def _engine_note(artifacts: Sequence[Artifact], library: TensorRTLibrary) -> str:
    """Describe the engines: their builder, their check and their limits."""
    first = artifacts[0]
    assert first.engine is not None
    assert first.parity is not None
    plural = "" if len(artifacts) == 1 else "s"
    ran = all(artifact.parity is not None and artifact.parity.status == "passed" for artifact in artifacts)
    outcome = "computed what the module computes" if ran else f"not run: {first.parity.reason}"
    note = f"engine{plural} built by {library.name} {library.version} for {first.engine.target}; {outcome}"
    if library.is_rtx:
        note += ". TensorRT and trtexec cannot load a TensorRT-RTX plan"
    if library.is_rtx and any(artifact.precision == "int8" for artifact in artifacts):
        note += f". {RTX_INT8}"
    return note
