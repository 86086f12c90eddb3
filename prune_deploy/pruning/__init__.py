"""Physical channel pruning: width plan, selection of channels, cut.

groups/            what belongs together: dependency groups traced on a copy without weights
channel_tracing/   the same from a second reading, exact where torch-pruning is wrong, blind or too slow
find_groups.py     decides between the two readings and says whether they agree
ignoring.py        groups that a request leaves alone
widths.py          how many channels each group keeps
solve.py           the plan nearest to a target
planner.py         plans that run, as values, for one model
imported_plans.py  plans from a file or from memory
checks/            trial runs of a plan without weights, and the check with weights
methods/           scores per channel
apply.py           which channels stay, and the cut itself
pruner.py          the pipeline through all of them; stages.py prunes on from stage to stage
sizes.py           sizes of a sweep's variants, without weights
masks.py           weights set to zero instead of cut
recipe.py          how a pruned module is rebuilt without a pickle
"""
