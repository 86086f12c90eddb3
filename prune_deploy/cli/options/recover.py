"""Options that say how accuracy comes back, and the RecoverSpec they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import click

from prune_deploy.cli.options.common import options
from prune_deploy.cli.options.values import build
from prune_deploy.errors import InputError
from prune_deploy.specs import DEFAULT_RECOVER_SAMPLES, Recover, RecoverSpec

NO_RECOVERY = "none"

recover_options = options(
    click.option(
        "--recover",
        type=click.Choice([NO_RECOVERY, *get_args(Recover)]),
        default=NO_RECOVERY,
        show_default=True,
        help="Bring accuracy back without training, from the images of --calib: batch norms anew, or weights that make up for what "
        "was removed as well.",
    ),
    click.option(
        "--recover-samples",
        type=int,
        default=DEFAULT_RECOVER_SAMPLES,
        show_default=True,
        help="Images to recover from; half as many more judge the result.",
    ),
)


def recover_spec(values: Mapping[str, Any]) -> RecoverSpec | None:
    """Return the RecoverSpec of parsed options, None without recovery.

    Raises:
        InputError: no images, or a value out of its range.
    """
    kind = values["recover"]
    if kind == NO_RECOVERY:
        return None
    if values["calib"] is None:
        raise InputError(
            f"--recover {kind} needs images",
            fix="name them with --calib: a folder like those the model will see, digits or fashion-mnist",
        )
    return build(RecoverSpec, values, kind=kind)
