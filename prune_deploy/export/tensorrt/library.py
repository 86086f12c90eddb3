"""Choice of the TensorRT library that builds engines here.

`tensorrt` builds on a machine with an NVIDIA GPU, `tensorrt_rtx` anywhere.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

from prune_deploy.errors import CannotRunError, InputError, install_extra, setting
from prune_deploy.gpus import local_target
from prune_deploy.specs import EngineLibrary

OLDEST_TENSORRT = (10, 12)
"""First release whose typed networks, Python API and inspector output this package is written against."""

LibraryName = Literal["tensorrt", "tensorrt-rtx"]

_INSTALL = {
    "tensorrt": f"{install_extra('tensorrt')} on a machine with an NVIDIA GPU",
    "tensorrt-rtx": f"{install_extra('gpu')}, whose TensorRT-RTX builds engines without a GPU",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRTLibrary:
    """An imported TensorRT library.

    `name` is "TensorRT" or "TensorRT-RTX", `module` its Python module.
    """

    name: str
    version: str
    module: Any

    @property
    def is_rtx(self) -> bool:
        """True for TensorRT-RTX, which builds for absent GPUs too.

        It builds for any of the GPUs that it knows.
        """
        return self.name == "TensorRT-RTX"

    @property
    def tag(self) -> str:
        """Library, major and minor version, for file names.

        Examples are "tensorrt-11.4" and "tensorrt-rtx-1.7".
        """
        return f"{self.name.lower()}-{'.'.join(self.version.split('.')[:2])}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """Reason that a library cannot build engines here, and a fix."""

    reason: str
    fix: str


def probe_library(name: LibraryName) -> TensorRTLibrary | Unavailable:
    """Import a library, or explain why it cannot build on this machine."""
    package = "tensorrt" if name == "tensorrt" else "tensorrt_rtx"
    try:
        module: Any = importlib.import_module(package)
    except (ImportError, OSError) as error:
        # An OSError comes from ctypes, when the Python package is there and its shared library is not.
        absent = isinstance(error, ModuleNotFoundError) and error.name == package
        return Unavailable(reason="not installed" if absent else f"it does not import: {error}", fix=_INSTALL[name])
    if not hasattr(module, "Builder"):
        return Unavailable(reason="only remains of an installation are left", fix=_INSTALL[name])
    if name == "tensorrt-rtx":
        return TensorRTLibrary(name="TensorRT-RTX", version=module.__version__, module=module)
    library = TensorRTLibrary(name="TensorRT", version=module.__version__, module=module)
    if _major_minor(library.version) < OLDEST_TENSORRT:
        oldest = ".".join(map(str, OLDEST_TENSORRT))
        reason = f"version {library.version} is older than {oldest}, the first with all that is used here"
        return Unavailable(reason=reason, fix="pip install --upgrade 'tensorrt>=10.12'")
    if local_target() is None:
        reason = "it builds only for the GPU it runs on, and no usable NVIDIA driver and GPU were found"
        return Unavailable(reason=reason, fix="install an NVIDIA driver, or build with tensorrt-rtx, which needs no GPU")
    return library


def available_libraries() -> tuple[TensorRTLibrary, ...]:
    """Return the libraries that can build engines here, preferred first."""
    probed = (probe_library("tensorrt"), probe_library("tensorrt-rtx"))
    return tuple(library for library in probed if isinstance(library, TensorRTLibrary))


def choose_library(name: EngineLibrary, target: str) -> TensorRTLibrary:
    """Return the library that builds an engine for `target` ("sm86") here.

    "auto" is TensorRT where it can build for the target, which must then be the local GPU, and TensorRT-RTX otherwise.

    Raises:
        CannotRunError: the requested library, or with "auto" each of them, is unavailable or cannot build for the target.
        InputError: the requested library is "none".
    """
    if name == "none":
        raise InputError("no engine was asked for, so no library builds one", fix="ask for auto, tensorrt or tensorrt-rtx")
    candidates: tuple[LibraryName, ...] = ("tensorrt", "tensorrt-rtx") if name == "auto" else (name,)
    reasons, fix = [], ""
    for candidate in candidates:
        library = _for_target(probe_library(candidate), target)
        if isinstance(library, TensorRTLibrary):
            return library
        reasons.append(f"{candidate}: {library.reason}")
        fix = library.fix
    raise CannotRunError(f"no engine for {target} can be built here: {'; '.join(reasons)}", fix=fix)


def _for_target(library: TensorRTLibrary | Unavailable, target: str) -> TensorRTLibrary | Unavailable:
    """Return the library if it can build for the target."""
    if isinstance(library, Unavailable):
        return library
    if library.is_rtx:
        known = library.module.ComputeCapability.__members__
        if target.upper() in known:
            return library
        names = ", ".join(name.lower() for name in known if name.startswith("SM"))
        fix = f"choose one of {names}, or build with tensorrt on a machine that has the card"
        return Unavailable(reason=f"version {library.version} does not build for {target}", fix=fix)
    local = local_target()
    if target == local:
        return library
    fix = f"ask for {setting('target', local)}, or build with tensorrt-rtx, which needs no GPU"
    return Unavailable(reason=f"it builds only for the GPU it runs on, here {local}", fix=fix)


def _major_minor(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
