"""From an engine file to an engine in memory.

This covers the library that made it, its GPU, and the profile that takes a batch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_deploy.errors import CannotRunError, InputError, PruneDeployError, setting
from prune_deploy.export.tensorrt.library import LibraryName, TensorRTLibrary, Unavailable, probe_library
from prune_deploy.export.tensorrt.log import collecting
from prune_deploy.gpus import local_target

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each input by name, the batch first."""

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
    """One optimisation profile: its number and the shapes it takes, by input."""

    index: int
    minimum: Shapes
    optimum: Shapes
    maximum: Shapes

    def takes(self, shapes: Shapes) -> bool:
        """Tell whether inputs of these shapes lie within."""
        return all(
            len(shape) == len(self.minimum[name])
            and all(low <= size <= high for low, size, high in zip(self.minimum[name], shape, self.maximum[name], strict=True))
            for name, shape in shapes.items()
        )

    @property
    def optimum_batch(self) -> int:
        """The batch that it is tuned for."""
        return _batch(self.optimum)

    @property
    def label(self) -> str:
        """Its batch sizes, as in "batch 1 to 8, tuned for 4"."""
        if self.minimum == self.maximum:
            return f"batch {self.optimum_batch}"
        return f"batch {_batch(self.minimum)} to {_batch(self.maximum)}, tuned for {self.optimum_batch}"


def _batch(shapes: Shapes) -> int:
    return next(iter(shapes.values()))[0]


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


def profiles_of(engine: Any, inputs: Sequence[str]) -> tuple[Profile, ...]:
    """The engine's optimisation profiles, in its order."""
    profiles = []
    for index in range(engine.num_optimization_profiles):
        bounds = {name: [tuple(shape) for shape in engine.get_tensor_profile_shape(name, index)] for name in inputs}
        minimum, optimum, maximum = ({name: shapes[bound] for name, shapes in bounds.items()} for bound in range(3))
        profiles.append(Profile(index=index, minimum=minimum, optimum=optimum, maximum=maximum))
    return tuple(profiles)


def choose_profile(profiles: tuple[Profile, ...], shapes: Shapes) -> Profile:
    """Choose the profile for inputs of these shapes.

    Of those that take it, it is the one tuned for the nearest batch size.

    Raises:
        InputError: none takes it.
    """
    batch = _batch(shapes)
    fitting = [profile for profile in profiles if profile.takes(shapes)]
    if fitting:
        return min(fitting, key=lambda profile: abs(profile.optimum_batch - batch))
    batches = [profile for profile in profiles if _images(profile.minimum) == _images(shapes)]
    if not batches:
        taken = " or ".join(dict.fromkeys(_images(profile.minimum) for profile in profiles))
        raise InputError(
            f"the engine takes images of shape {taken}, got {_images(shapes)}", fix="bind inputs of the model's size"
        )
    labels = "; ".join(profile.label for profile in batches)
    raise InputError(
        f"batch {batch} is outside the engine's profiles ({labels})",
        fix=f"export the engine with {setting('batches', (..., batch))}",
    )


def _images(shapes: Shapes) -> str:
    """Describe the shapes without the batch."""
    return " and ".join(str(shape[1:]) for shape in shapes.values())
