"""Physical channel pruning with DepGraph, in two separable steps: a WidthPlan (how many), then a Selection (which), executed.

graph.py     what belongs together: dependency groups traced on a copy without weights
axes/        the same from a second reading, exact where torch-pruning is wrong, blind or too slow
grouping.py  which of the two readings is used; agreement.py says whether they agree
probe.py     the check with weights: channels that change places everywhere change no output
residual.py  which groups are streams that layers add to
families.py  what torch-pruning cannot see of an architecture
widths.py    how many channels each group keeps
trial.py     groups whose narrowing would break the forward pass
methods/     scores per channel
apply.py     which channels stay, and the cut itself
recipe.py    how a pruned module is rebuilt without a pickle
pruner.py    the road through all of them
"""
