"""Names of architectures without an import of timm: the same as timm's own, and answers within a moment."""

from __future__ import annotations

import subprocess
import sys

import pytest
import timm

from prune_deploy.models import resolve, skeleton
from prune_deploy.pruning.counting import count_params
from prune_deploy.specs import SHORT_CODE_PARAMS, SHORT_CODES, ModelSpec
from prune_deploy.timm_names import architectures, require_architecture


def test_the_names_are_those_that_timm_registers() -> None:
    assert architectures() == set(timm.list_models())
    for name in (*SHORT_CODES, "resnet50", "resnet50.a1_in1k"):
        require_architecture(name)


@pytest.mark.parametrize("code", SHORT_CODES)
def test_the_stated_parameters_are_those_that_are_counted(code: str) -> None:
    assert count_params(skeleton(resolve(ModelSpec(name=code)))) == SHORT_CODE_PARAMS[code]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["models", "--filter", "*resnet18*"], 0, "resnet18d"),
        (["methods"], 0, "bn-scale"),
        (["backends"], 0, "eager"),
        (["export", "--model", "resnet5O", "--ratio", "0.5"], 2, "did you mean resnet50"),
        (["sweep", "--models", "resnet5O", "--methods", "l1", "--ratios", "0.5", "--dry-run"], 2, "did you mean resnet50"),
        (["finetune", "nowhere", "--data", "digits"], 2, "nowhere"),
        (["run", "nowhere"], 2, "nowhere"),
        (["eval", "nowhere", "--data", "digits"], 2, "nowhere"),
        (["verify", "nowhere"], 2, "nowhere"),
        (["bench", "nowhere"], 2, "nowhere"),
        (["trace", "nowhere"], 2, "nowhere"),
    ],
)
def test_a_list_or_a_mistyped_name_is_answered_without_pytorch(arguments: list[str], code: int, told: str) -> None:
    program = (
        "import sys\n"
        "from prune_deploy.cli.main import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(*sorted({'torch', 'timm', 'torch_pruning', 'onnxruntime'} & sys.modules.keys()), file=sys.stderr)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == code, ended.stderr
    assert told in ended.stdout + ended.stderr
    assert ended.stderr.splitlines()[-1] == "", "nothing heavy was imported"
