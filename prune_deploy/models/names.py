"""Names of models, and everything that a request leaves open."""

from __future__ import annotations

import timm
from timm.models import get_pretrained_cfg, is_model, split_model_name_tag

from prune_deploy.errors import InputError
from prune_deploy.specs import SHORT_CODES, ModelSpec, ResolvedModel
from prune_deploy.timm_names import SHOWN, require_architecture

SHORT_CODE_CLASSES = 10


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
        require_architecture(name)
        raise InputError(f"unknown model {name[:SHOWN]!r}", fix="see: prune-deploy models --filter '*resnet*'")
    if not tag:
        return
    tags = [split_model_name_tag(each)[1] for each in timm.list_pretrained(f"{architecture}.*")]
    if tag not in tags:
        listed = ", ".join(tags) or "none"
        raise InputError(f"{architecture} has no weights {tag[:SHOWN]!r}", fix=f"one of its tags: {listed}; or leave it out")
