"""From an engine file to an engine in memory.

This covers the library that made it, its GPU, and the profile that takes a batch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_deploy.errors import CannotRunError, InputError, PruneDeployError, setting
from prune_deploy.export.tensorrt.library import LibraryName, TensorRTLibrary, Unavailable, probe_library
from prune_deploy.export.tensorrt.log import collecting
from prune_deploy.gpus import local_target

_TARGET = re.compile(r"\.(sm\d{2,3})\.")
_LIBRARY = re.compile(r"\.((tensorrt(?:-rtx)?)-\d+\.\d+)\.engine$")
_RTX_MAGIC = b"vtrt"
# TensorRT's words for an engine that is whole and still cannot be used here.
_OTHER_VERSION = ("not compatible with this version", "on a newer plan file")
_OTHER_DEVICE = ("incompatible device", "Cuda Runtime", "out of memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLabel:
    """Facts of an engine's file name, "" where it states none."""

    target: str
    tag: str
    library: LibraryName

    @classmethod
    def read(cls, path: Path, plan: bytes) -> EngineLabel:
        """Read the label of a file.

        The plan's first bytes tell the library where the name does not.
        """
        target, library = _TARGET.search(path.name), _LIBRARY.search(path.name)
        rtx = library[2] == "tensorrt-rtx" if library else plan.startswith(_RTX_MAGIC)
        return cls(
            target=target[1] if target else "",
            tag=library[1] if library else "",
            library="tensorrt-rtx" if rtx else "tensorrt",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One optimisation profile: its number and the input shapes it takes."""

    index: int
    minimum: tuple[int, ...]
    optimum: tuple[int, ...]
    maximum: tuple[int, ...]

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an input of that shape lies within."""
        return len(shape) == len(self.minimum) and all(
            low <= size <= high for low, size, high in zip(self.minimum, shape, self.maximum, strict=True)
        )

    @property
    def label(self) -> str:
        """Its batch sizes, as in "batch 1 to 8, tuned for 4"."""
        if self.minimum == self.maximum:
            return f"batch {self.optimum[0]}"
        return f"batch {self.minimum[0]} to {self.maximum[0]}, tuned for {self.optimum[0]}"


def read_plan(path: Path) -> bytes:
    """The content of an engine file.

    Raises:
        InputError: there is no such file, or it is empty.
    """
    try:
        plan = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", fix="export the bundle again") from error
    if not plan:
        raise InputError(f"{path} is empty", fix="restore it, or export the bundle again")
    return plan


def library_for(path: Path, label: EngineLabel) -> TensorRTLibrary:
    """The library that loads the engine onto the GPU that is here.

    Raises:
        CannotRunError: the engine is for another GPU, or its library is not here.
    """
    local = local_target()
    if label.target not in ("", local):
        raise CannotRunError(
            f"{path.name}: the engine is built for {label.target}, the GPU here is {local}",
            fix=f"export it again with {setting('target', local)}",
        )
    library = probe_library(label.library)
    if isinstance(library, Unavailable):
        raise CannotRunError(f"{path.name} needs {label.library}: {library.reason}", fix=library.fix)
    return library


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedEngine:
    """Engine in memory, with everything that must live as long."""

    label: EngineLabel
    library: TensorRTLibrary
    runtime: Any
    engine: Any


def load(path: Path) -> LoadedEngine:
    """The engine of a file, loaded onto the GPU.

    Raises:
        InputError: the file is missing or damaged.
        CannotRunError: the engine is for another GPU, or for a library that is not here.
    """
    plan = read_plan(path)
    label = EngineLabel.read(path, plan)
    library = library_for(path, label)
    with collecting(library) as log:
        runtime = library.module.Runtime(log.logger)
        engine = runtime.deserialize_cuda_engine(plan)
        message = log.describe_errors()
    if engine is None:
        raise _refusal(path, label, library, message)
    return LoadedEngine(label=label, library=library, runtime=runtime, engine=engine)


def _refusal(path: Path, label: EngineLabel, library: TensorRTLibrary, message: str) -> PruneDeployError:
    """Return the error for an engine that does not load.

    TensorRT's own messages decide which.
    """
    reason = f":\n{message}" if message else ""
    if label.tag not in ("", library.tag) or any(words in message for words in _OTHER_VERSION):
        return CannotRunError(
            f"{path.name} was made by {label.tag or 'another version'}, and {library.tag} does not load it{reason}",
            fix=f"install {label.tag or 'that version'}, or export the bundle again",
        )
    if "Serialization" not in message and any(words in message for words in _OTHER_DEVICE):
        return CannotRunError(
            f"{path.name} does not load on this GPU{reason}", fix="see: prune-deploy doctor; or export it again here"
        )
    return InputError(f"{path} does not load{reason}", fix="the file is damaged: restore it, or export the bundle again")


def profiles_of(engine: Any, input_name: str) -> tuple[Profile, ...]:
    """The engine's optimisation profiles, in its order."""
    profiles = []
    for index in range(engine.num_optimization_profiles):
        shapes = (tuple(shape) for shape in engine.get_tensor_profile_shape(input_name, index))
        minimum, optimum, maximum = shapes
        profiles.append(Profile(index=index, minimum=minimum, optimum=optimum, maximum=maximum))
    return tuple(profiles)


def choose_profile(profiles: tuple[Profile, ...], shape: tuple[int, ...]) -> Profile:
    """Choose the profile for an input of `shape`.

    Of those that take it, it is the one tuned for the nearest batch size.

    Raises:
        InputError: none takes it.
    """
    fitting = [profile for profile in profiles if profile.takes(shape)]
    if fitting:
        return min(fitting, key=lambda profile: abs(profile.optimum[0] - shape[0]))
    batches = [profile for profile in profiles if profile.minimum[1:] == shape[1:]]
    if not batches:
        shapes = " or ".join(dict.fromkeys(str(profile.minimum[1:]) for profile in profiles))
        raise InputError(f"the engine takes images of shape {shapes}, got {shape[1:]}", fix="bind inputs of the model's size")
    labels = "; ".join(profile.label for profile in batches)
    raise InputError(
        f"batch {shape[0]} is outside the engine's profiles ({labels})",
        fix=f"export the engine with {setting('batches', (..., shape[0]))}",
    )
