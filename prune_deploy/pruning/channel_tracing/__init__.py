"""Channel tracing: an exact second analysis of the channels that belong together.

It is exact where DepGraph is wrong, blind or too slow. Every axis of every tensor carries one label per position. The model runs
once on meta tensors. Each operation defines how labels move (views, splits, concatenations) and which must be the same (sums,
products, contractions). Positions that must keep a fixed number are pinned. Nothing is guessed: an operation that is not in the
table pins all that flows into it.

    classes.py     which labels are the same channel
    reshaping.py   labels through a change of shape
    contraction.py matrix products, convolutions and norms
    movement.py    operations that move labels and change none
    rules.py       which rule an operation follows
    tracing.py     the run that applies the rules
    layers.py      which axes are narrowed as one
    attributes.py  sizes that modules keep and read again
    reading.py     from labels to channel groups
    narrowing.py   how tensors, layers and attributes get narrower
"""

from prune_deploy.pruning.channel_tracing.reading import read_groups

__all__ = ["read_groups"]
