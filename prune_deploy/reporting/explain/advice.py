"""An explanation in plain words: what happened in two or three sentences, and what would help, each only where it carries weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prune_deploy.records import Cause, Explanation, LayerVerdict, WaterfallStep
from prune_deploy.reporting.explain.alignment import Alignment
from prune_deploy.reporting.figures.formatting import interval, share

GAP = 0.05
"""A measured time within this share of the predicted one is no gap."""

REAL_SHARE = 0.15
"""The share of the gap from which on a cause gets a sentence and advice."""

_UNKNOWN = 0.25
_CAUSE_SENTENCES = 2


def has_gap(explanation: Explanation) -> bool:
    """Whether it is slower than its MACs predict."""
    return explanation.measured_ms > explanation.predicted_ms * (1 + GAP)


def may_be_noise(explanation: Explanation) -> bool:
    """Whether the speed-up's interval reaches what the MACs promise, so that the measurement leaves open whether there is a gap."""
    speedup = explanation.speedup
    return speedup is not None and speedup.high is not None and speedup.high >= explanation.macs_ratio


def weighty(explanation: Explanation) -> tuple[WaterfallStep, ...]:
    """The steps that carry a real share of the gap, the largest first; none where there is no gap."""
    if not has_gap(explanation):
        return ()
    gap_ms = explanation.measured_ms - explanation.predicted_ms
    return tuple(sorted((s for s in explanation.steps if s.delta_ms >= REAL_SHARE * gap_ms), key=lambda step: -step.delta_ms))


def tell(explanation: Explanation, alignment: Alignment | None, unknown_share: float) -> tuple[str, ...]:
    """Two or three sentences, and one more where kernels of the two models could not be joined.

    `unknown_share` is the share of the pruned model's layer time in kernels that the dense model has not, or whose work nobody knows.
    """
    return tuple(_sentences(explanation, alignment, unknown_share))


def advise(explanation: Explanation, alignment: Alignment | None) -> tuple[str, ...]:
    """What would help against the causes that carry a real share of the gap."""
    return tuple(dict.fromkeys(text for step in weighty(explanation) for text in _ADVICE[step.cause](explanation, alignment)))


def _sentences(explanation: Explanation, alignment: Alignment | None, unknown_share: float) -> Iterator[str]:
    e = explanation
    if e.against:
        yield from _precision_sentences(e)
    else:
        yield from _pruning_sentences(e)
    for number, step in enumerate(weighty(e)[: 1 if may_be_noise(e) else _CAUSE_SENTENCES]):
        yield _cause_sentence(e, step, alignment, is_first=number == 0)
    if unknown_share > _UNKNOWN:
        yield (
            f"{share(unknown_share)} of its layer time is in kernels that fuse several layers: their own work is not known, so they are "
            "compared with the dense model's kernel of the same name, or all together where it has none."
        )


def _precision_sentences(e: Explanation) -> Iterator[str]:
    """One network in two precisions: the work is the same."""
    times = e.measured_ms / e.dense_ms
    yield (
        f"{e.label} takes {e.measured_ms:.4g} ms in {e.case.precision} and {e.dense_ms:.4g} ms in {e.against}: "
        f"{e.case.precision} takes {times:.2f}× the time for the same MACs."
    )
    if not has_gap(e):
        gained = sum(layer.pruned_us - layer.dense_us for layer in e.layers if layer.pruned_us < layer.dense_us) / 1000
        lost = sum(layer.pruned_us - layer.dense_us for layer in e.layers if layer.pruned_us > layer.dense_us) / 1000
        yield f"Layers that got faster gain {-gained:.4g} ms, layers that got slower or came in cost {lost:.4g} ms."


def _pruning_sentences(e: Explanation) -> Iterator[str]:
    """A pruned network beside its dense one: its MACs predict its time."""
    slower = e.measured_ms / e.dense_ms
    yield (
        f"{e.label} has {1 / e.macs_ratio:.2f}× the dense model's MACs, which predicts {e.predicted_ms:.4g} ms; it takes "
        f"{e.measured_ms:.4g} ms, {slower:.2f}× the dense model's {e.dense_ms:.4g} ms."
    )
    if not has_gap(e):
        yield _no_gap(e)
    elif e.speedup is not None and may_be_noise(e):
        reach = interval(e.speedup.value, e.speedup.low, e.speedup.high)
        yield f"The gap may be noise: the speed-up, {reach}, reaches the MACs ratio, {e.macs_ratio:.2f}."


def _no_gap(explanation: Explanation) -> str:
    e = explanation
    difference = e.measured_ms / e.predicted_ms - 1
    if difference < -GAP:
        return f"There is no gap: it is {share(-difference)} faster than its MACs predict."
    return f"There is no gap: measured and predicted time differ by {share(abs(difference))}."


def _cause_sentence(explanation: Explanation, step: WaterfallStep, alignment: Alignment | None, *, is_first: bool) -> str:
    gap_ms = explanation.measured_ms - explanation.predicted_ms
    beyond = f"{explanation.against}'s time" if explanation.against else "the prediction"
    begin = f"Of the {gap_ms:.4g} ms beyond {beyond}, {step.delta_ms:.4g} ms ({share(step.delta_ms / gap_ms)}) "
    if not is_first:
        begin = f"Another {step.delta_ms:.4g} ms "
    worst = _worst(explanation, step.cause)
    example = f"; {worst.name}, for one: {worst.evidence}" if worst is not None else ""
    return f"{begin}{_BECAUSE[step.cause](explanation, step, alignment)}{example}."


def _worst(explanation: Explanation, cause: Cause) -> LayerVerdict | None:
    """The layer that adds most to a cause."""
    return max((layer for layer in explanation.layers if layer.cause == cause), key=lambda layer: layer.delta_ms, default=None)


def _layers(step: WaterfallStep) -> str:
    return "one layer" if step.layers == 1 else f"{step.layers} layers"


def _misaligned(_: Explanation, step: WaterfallStep, alignment: Alignment | None) -> str:
    kernels = "the runtime's kernels" if alignment is None else alignment.kernels
    return f"come from misaligned channels: {_layers(step)} with widths that do not fit {kernels}"


_BECAUSE: dict[Cause, Callable[[Explanation, WaterfallStep, Alignment | None], str]] = {
    "misaligned": _misaligned,
    "memory-bound": lambda e, step, _: (
        f"come from {_layers(step)} bound by memory, measured at {e.bandwidth_gb_s:.3g} GB/s: pruning took away fewer bytes than MACs"
    ),
    "overhead-bound": lambda *_: "are the cost of starting work, not of the work itself",
    "reformat": lambda *_: "go into copies and changes of layout or type",
    "kernel": lambda e, step, _: (
        f"come from {_layers(step)} whose {e.case.precision} kernels take longer than those of {e.against}"
    ),
    "not-pruned": lambda _, step, __: f"come from {_layers(step)} that kept their size, at more time per MAC than the average",
    "as-predicted": lambda *_: "come from where MACs were removed: those that went took less time each than those that stayed",
    "other": lambda *_: "are not explained by MACs, bytes, widths or copies",
}


def _round_to(_: Explanation, alignment: Alignment | None) -> list[str]:
    if alignment is None:
        return []
    return [f"prune with --round-to {alignment.block}: whole blocks of {alignment.kernels}, with nothing padded or reordered"]


def _reformat_advice(explanation: Explanation, alignment: Alignment | None) -> list[str]:
    options = explanation.case.options
    if explanation.against:
        return [
            f"every change of type costs a pass over the data: convert whole stretches of the network, or stay in {explanation.against}"
        ]
    if explanation.case.backend in ("eager", "compile") and not options.channels_last:
        return ["measure with --channels-last: PyTorch then keeps one layout through the network"]
    return _round_to(explanation, alignment)


def _memory_advice(explanation: Explanation, _: Alignment | None) -> list[str]:
    options = explanation.case.options
    advice = []
    if explanation.case.backend == "eager":
        advice.append(
            "run it through compile, ort or trt, which fuse element-wise layers into their neighbours and save their bytes"
        )
        if not options.channels_last:
            advice.append("measure with --channels-last")
    return [
        *advice,
        f"narrow the feature maps that these layers carry (prune without --bottleneck): {_names(explanation, 'memory-bound')}",
    ]


def _overhead_advice(explanation: Explanation, _: Alignment | None) -> list[str]:
    case = explanation.case
    advice = [
        f"use a larger batch than {case.batch} where the service allows it: starting a layer costs the same for more images"
    ]
    if case.options.device == "cuda" and case.backend.startswith("trt") and not case.options.variant:
        advice.append("run the engine as a CUDA graph: --backend trt:cuda-graph")
    if case.options.device == "cuda" and case.backend == "compile" and case.options.compile_mode == "default":
        advice.append("capture it in a CUDA graph: --compile-mode reduce-overhead")
    if case.backend == "eager":
        advice.append("run it through compile, ort or trt, which start fewer and larger kernels")
    return advice


def _kernel_advice(explanation: Explanation, _: Alignment | None) -> list[str]:
    if explanation.case.precision != "int8":
        return [f"deploy it in {explanation.against} on this runtime"]
    return [
        f"keep these layers in float (--int8-keep), or deploy it in {explanation.against} on this runtime: "
        f"{_names(explanation, 'kernel')}"
    ]


def _not_pruned_advice(explanation: Explanation, _: Alignment | None) -> list[str]:
    return [f"prune what kept its size (the bundle's receipt says why it did): {_names(explanation, 'not-pruned')}"]


def _placement_advice(explanation: Explanation, _: Alignment | None) -> list[str]:
    return [
        f"take more channels from where a MAC costs most time (--plan FILE sets widths): {_names(explanation, 'as-predicted')}"
    ]


_ADVICE: dict[Cause, Callable[[Explanation, Alignment | None], list[str]]] = {
    "misaligned": _round_to,
    "memory-bound": _memory_advice,
    "overhead-bound": _overhead_advice,
    "reformat": _reformat_advice,
    "kernel": _kernel_advice,
    "not-pruned": _not_pruned_advice,
    "as-predicted": _placement_advice,
    "other": lambda *_: ["look at both traces side by side in Perfetto (the run's traces/ folder)"],
}


def _names(explanation: Explanation, cause: Cause, most: int = 3) -> str:
    """The layers that add most to a cause."""
    found = sorted((layer for layer in explanation.layers if layer.cause == cause), key=lambda layer: -layer.delta_ms)
    return ", ".join(layer.name for layer in found[:most])
