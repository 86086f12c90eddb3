"""Write tests/golden/<preset>-sizes.csv: parameters and MACs of a preset's variants, from twins without weights. Takes minutes.

python benchmarks/preset_sizes.py pytorch-pruning resnet50-curve

The documents' tables are made from these files (docs/generate_tables.py); tests compute them again.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable
from pathlib import Path

from prune_deploy.presets import preset
from prune_deploy.pruning.sizes import Size, sizes
from prune_deploy.specs import Variant

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
FIELDS = ("model", "method", "ratio", "protocol", "params", "macs", "macs_with_attention", "reason")


def rows(found: Iterable[tuple[Variant, Size]]) -> list[dict[str, str]]:
    """A row per variant, as the file has them."""
    return [dict(zip(FIELDS, _values(variant, size), strict=True)) for variant, size in found]


def _values(variant: Variant, size: Size) -> list[str]:
    ratio = "" if variant.ratio is None else f"{variant.ratio:g}"
    counts = size.counts
    figures = ["", "", ""] if counts is None else [str(counts.params), str(counts.macs), str(counts.macs_with_attention)]
    return [variant.model.name, variant.method, ratio, variant.protocol, *figures, size.reason]


def main(names: Iterable[str]) -> None:
    """Write the files of these presets."""
    for name in names:
        text = io.StringIO()
        writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows(sizes(preset(name))))
        (GOLDEN / f"{name}-sizes.csv").write_text(text.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
