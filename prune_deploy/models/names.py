"""Names of models: short codes, those of timm's registry, those of hubs."""

from __future__ import annotations

import difflib

import timm
from timm.models import get_pretrained_cfg, is_model, split_model_name_tag

from prune_deploy.errors import InputError
from prune_deploy.specs import SHORT_CODES, ModelSpec, ResolvedModel

SHORT_CODE_CLASSES = 10
_SHOWN = 100
_HUBS = ("hf-hub:", "hf_hub:", "timm/")
_FOLDERS = ("local-dir:", "local_dir:")


def resolve(spec: ModelSpec) -> ResolvedModel:
    """Decide everything that a request leaves open.

    Short codes become timm's names.

    Raises:
        InputError: timm knows no such model, or no such weights of it.
    """
    name = SHORT_CODES.get(spec.name, spec.name)
    require_registered(name)
    config = get_pretrained_cfg(name)
    classes = spec.num_classes
    if classes is None:
        reference = spec.name in SHORT_CODES and spec.weights == "random"
        classes = SHORT_CODE_CLASSES if reference else int(getattr(config, "num_classes", None) or 1000)
    size = spec.input_size or tuple(getattr(config, "input_size", None) or (3, 224, 224))
    return ResolvedModel(
        name=name,
        num_classes=classes,
        input_size=(int(size[0]), int(size[1]), int(size[2])),
        weights=spec.weights,
        seed=spec.seed,
    )


def require_registered(name: str) -> None:
    """Refuse what timm's registry does not hold.

    timm itself would look for other names on a hub or in a folder ("hf-hub:…", "local-dir:…"), and build what it is told there.

    Raises:
        InputError: there is no such architecture, or no such weights of it.
    """
    architecture, tag = split_model_name_tag(name)
    if not is_model(architecture):
        if fix := _elsewhere(name):
            raise InputError(f"unknown model {name[:_SHOWN]!r}: models are named as in timm's registry", fix=fix)
        near = difflib.get_close_matches(architecture, [*timm.list_models(), *SHORT_CODES.values()], n=3, cutoff=0.5)
        raise InputError(
            f"unknown model {name[:_SHOWN]!r}",
            fix=f"did you mean {', '.join(near)}?" if near else "see: prune-deploy models --filter '*resnet*'",
        )
    if not tag:
        return
    tags = [split_model_name_tag(each)[1] for each in timm.list_pretrained(f"{architecture}.*")]
    if tag not in tags:
        listed = ", ".join(tags) or "none"
        raise InputError(f"{architecture} has no weights {tag[:_SHOWN]!r}", fix=f"one of its tags: {listed}; or leave it out")


def _elsewhere(name: str) -> str:
    """Return the way to a model that a hub or folder names.

    It is "" for any other name.
    """
    if name.startswith(_FOLDERS):
        return "name the architecture, and the file in that folder with `weights=PATH`"
    bare = name
    for hub in _HUBS:
        bare = bare.removeprefix(hub)
    if bare == name and "/" not in name:
        return ""
    bare = bare.rsplit("/", 1)[-1]
    if is_model(split_model_name_tag(bare)[0]):
        return f"name it {bare}; `weights='pretrained'` fetches its weights"
    return "name the architecture, and a downloaded file of its weights with `weights=PATH`"
