"""Checks behind `doctor`.

They are small functions that are given the facts they check, so that each fault can be staged in a test.
"""

from __future__ import annotations

from prune_deploy.diagnosis import gpu, libraries, system
from prune_deploy.diagnosis.finding import Diagnosis
from prune_deploy.environment import read_nvml

__all__ = ["Diagnosis", "can_export", "diagnose"]


def diagnose() -> tuple[Diagnosis, ...]:
    """Run every check, in the order in which to fix things.

    It changes nothing. It may load shared libraries of the CUDA runtime.
    """
    nvidia = read_nvml()
    requirements = libraries.requirements()
    checks = (
        system.check_python(),
        libraries.check_libraries(requirements, nvidia=nvidia),
        libraries.check_torch(requirements, nvidia),
        libraries.check_onnxruntime(requirements, nvidia),
        libraries.check_tensorrt_rtx(requirements),
        libraries.check_tensorrt(requirements, nvidia),
        gpu.check_driver(nvidia),
        gpu.check_gpu(nvidia),
        gpu.check_cuda_libraries(nvidia),
        system.check_compiler(),
        system.check_headers(),
        system.check_make(),
        system.check_disk(),
        system.check_output_folder(),
        system.check_memory(),
        system.check_cpu(),
    )
    return tuple(check for check in checks if check is not None)


def can_export(checks: tuple[Diagnosis, ...]) -> bool:
    """Return whether `export` can run here on the CPU."""
    return not any(check.blocks_export for check in checks)
