"""What can only be seen on a GPU: the engine loads, runs, and computes what the module computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from prune_deploy import ExportSpec, ModelSpec, PruneSpec, export_bundle, load
from prune_deploy.data import synthetic_images
from prune_deploy.environment import capture
from prune_deploy.export.tensorrt.layers import types_in_inspector
from prune_deploy.export.tensorrt.library import TensorRTLibrary
from prune_deploy.gpus import local_target
from prune_deploy.pipeline import Exported
from support.gpu import builders, engine_spec, needs_cuda, needs_engine, require_builder

BATCHES = (1, 4)
BUILDERS = builders()
NONE: list[TensorRTLibrary | None] = [None]


@pytest.fixture(scope="module", params=BUILDERS or NONE, ids=lambda library: library.tag if library else "no library")
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TensorRTLibrary, Exported]:
    library = request.param or require_builder()
    engine = engine_spec(library, batches=BATCHES)
    spec = ExportSpec(model=ModelSpec(name="test_vit"), prune=PruneSpec(ratio=0.5), engine=engine)
    return library, export_bundle(spec, tmp_path_factory.mktemp("gpu") / "bundle")


@needs_cuda
def test_the_environment_names_the_gpu() -> None:
    major, minor = torch.cuda.get_device_capability(0)
    assert local_target() == f"sm{major}{minor}"
    assert any(torch.cuda.get_device_name(0) in gpu for gpu in capture().gpus)
    assert capture().driver


def engine_of(library: TensorRTLibrary, path: Path) -> Any:
    trt = library.module
    return trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(path.read_bytes())


def plan_path(exported: Exported) -> Path:
    return next(exported.folder / a.name for a in exported.record.artifacts if a.role == "engine")


@needs_engine
@pytest.mark.parametrize("profile", range(len(BATCHES)))
def test_the_engine_computes_what_the_module_computes(exported: tuple[TensorRTLibrary, Exported], profile: int) -> None:
    library, bundle = exported
    engine = engine_of(library, plan_path(bundle))
    assert engine is not None
    context, stream = engine.create_execution_context(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    images = synthetic_images(BATCHES[profile], bundle.record.preprocessing.input_size, torch.Generator().manual_seed(1))
    with torch.cuda.stream(stream):
        inputs = images.cuda()
        logits = torch.empty(BATCHES[profile], bundle.record.num_classes, device="cuda")
        assert context.set_optimization_profile_async(profile, stream.cuda_stream)
        assert context.set_input_shape(bundle.record.input_name, tuple(inputs.shape))
        context.set_tensor_address(bundle.record.input_name, inputs.data_ptr())
        context.set_tensor_address(bundle.record.output_name, logits.data_ptr())
        assert context.execute_async_v3(stream.cuda_stream)
    stream.synchronize()
    with torch.inference_mode():
        expected = load(bundle.folder)(images)
    spread = expected.std(dim=1).mean()
    assert (logits.cpu() - expected).abs().max() < 1e-3 * spread


@needs_engine
def test_the_inspector_agrees_with_the_recorded_layer_types(exported: tuple[TensorRTLibrary, Exported]) -> None:
    library, bundle = exported
    inspector = engine_of(library, plan_path(bundle)).create_engine_inspector()
    counted = types_in_inspector(inspector.get_engine_information(library.module.LayerInformationFormat.JSON))
    recorded = next(a.engine for a in bundle.record.artifacts if a.engine is not None)
    assert set(counted) == set(recorded.layer_types)
