"""Statements and advice of an explanation, by key.

Each appears only where it carries weight. The texts are in `wording`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prune_deploy.records import Cause, Explanation, LayerVerdict, WaterfallStep
from prune_deploy.reporting.explain.alignment import Alignment
from prune_deploy.reporting.figures.sentence import Sentence, sentence

GAP = 0.05
"""Relative tolerance within which a measured time matches the prediction."""

REAL_SHARE = 0.15
"""Smallest share of the gap for which a cause gets a sentence and advice."""

_UNKNOWN = 0.25
_CAUSE_SENTENCES = 2


def has_gap(explanation: Explanation) -> bool:
    """Return whether it is slower than its MACs predict."""
    return explanation.measured_ms > explanation.predicted_ms * (1 + GAP)


def may_be_noise(explanation: Explanation) -> bool:
    """Return whether the speed-up's interval reaches the MACs ratio.

    Then the measurement leaves open whether there is a gap.
    """
    speedup = explanation.speedup
    return speedup is not None and speedup.high is not None and speedup.high >= explanation.macs_ratio


def weighty(explanation: Explanation) -> tuple[WaterfallStep, ...]:
    """Return the steps that carry a real share of the gap.

    The largest comes first. Without a gap there are none.
    """
    if not has_gap(explanation):
        return ()
    gap_ms = explanation.measured_ms - explanation.predicted_ms
    return tuple(sorted((s for s in explanation.steps if s.delta_ms >= REAL_SHARE * gap_ms), key=lambda step: -step.delta_ms))


def tell(explanation: Explanation, alignment: Alignment | None, unknown_share: float) -> tuple[Sentence, ...]:
    """State what happened.

    One further statement names kernels of the two models that could not be joined. `unknown_share` is the share of the pruned
    model's layer time in kernels that the dense model does not have, or whose work is unknown.
    """
    return tuple(_sentences(explanation, alignment, unknown_share))


def advise(explanation: Explanation, alignment: Alignment | None) -> tuple[Sentence, ...]:
    """Advise against the causes that carry a real share of the gap."""
    advice: list[Sentence] = []
    for step in weighty(explanation):
        advice += [each for each in _ADVICE[step.cause](explanation, alignment) if each not in advice]
    return tuple(advice)


def _sentences(explanation: Explanation, alignment: Alignment | None, unknown_share: float) -> Iterator[Sentence]:
    e = explanation
    yield from _precision_sentences(e) if e.against else _pruning_sentences(e)
    for number, step in enumerate(weighty(e)[: 1 if may_be_noise(e) else _CAUSE_SENTENCES]):
        yield _cause_sentence(e, step, alignment, is_first=number == 0)
    if unknown_share > _UNKNOWN:
        yield sentence("fused-kernels", unknown_share=unknown_share)


def _precision_sentences(e: Explanation) -> Iterator[Sentence]:
    """One network in two precisions: the work is the same."""
    yield sentence(
        "precisions",
        label=e.label,
        precision=e.case.precision,
        against=e.against,
        measured_ms=e.measured_ms,
        dense_ms=e.dense_ms,
        times=e.measured_ms / e.dense_ms,
    )
    if not has_gap(e):
        changes_ms = [(layer.pruned_us - layer.dense_us) / 1000 for layer in e.layers]
        gained_ms, lost_ms = -sum(ms for ms in changes_ms if ms < 0), sum(ms for ms in changes_ms if ms > 0)
        yield sentence("gains-and-losses", gained_ms=gained_ms, lost_ms=lost_ms)


def _pruning_sentences(e: Explanation) -> Iterator[Sentence]:
    """A pruned network beside its dense one: its MACs predict its time."""
    yield sentence(
        "pruned",
        label=e.label,
        macs_left=1 / e.macs_ratio,
        predicted_ms=e.predicted_ms,
        measured_ms=e.measured_ms,
        dense_ms=e.dense_ms,
        times=e.measured_ms / e.dense_ms,
    )
    if not has_gap(e):
        difference = e.measured_ms / e.predicted_ms - 1
        key = "faster-than-predicted" if difference < -GAP else "no-gap"
        yield sentence(key, difference=abs(difference))
    elif e.speedup is not None and may_be_noise(e):
        speedup = e.speedup
        yield sentence("may-be-noise", speedup=speedup.value, low=speedup.low, high=speedup.high, macs_ratio=e.macs_ratio)


def _cause_sentence(e: Explanation, step: WaterfallStep, alignment: Alignment | None, *, is_first: bool) -> Sentence:
    worst = _worst(e, step.cause)
    return sentence(
        "cause",
        cause=step.cause,
        delta_ms=step.delta_ms,
        gap_ms=e.measured_ms - e.predicted_ms,
        is_first=is_first,
        against=e.against,
        layers="one layer" if step.layers == 1 else f"{step.layers} layers",
        kernels="the runtime's kernels" if alignment is None else alignment.kernels,
        bandwidth_gb_s=e.bandwidth_gb_s,
        precision=e.case.precision,
        example=None if worst is None else (worst.name, worst.evidence),
    )


def _worst(explanation: Explanation, cause: Cause) -> LayerVerdict | None:
    """The layer that adds most to a cause."""
    return max((layer for layer in explanation.layers if layer.cause == cause), key=lambda layer: layer.delta_ms, default=None)


def _round_to(_: Explanation, alignment: Alignment | None) -> list[Sentence]:
    return [] if alignment is None else [sentence("round-to", block=alignment.block, kernels=alignment.kernels)]


def _reformat_advice(explanation: Explanation, alignment: Alignment | None) -> list[Sentence]:
    if explanation.against:
        return [sentence("convert-less", against=explanation.against)]
    if explanation.case.backend in ("eager", "compile") and not explanation.case.options.channels_last:
        return [sentence("one-layout")]
    return _round_to(explanation, alignment)


def _memory_advice(explanation: Explanation, _: Alignment | None) -> list[Sentence]:
    is_eager = explanation.case.backend == "eager"
    return [
        *([sentence("fuse")] if is_eager else []),
        *([sentence("channels-last")] if is_eager and not explanation.case.options.channels_last else []),
        sentence("narrow-maps", layers=_names(explanation, "memory-bound")),
    ]


def _overhead_advice(explanation: Explanation, _: Alignment | None) -> list[Sentence]:
    case = explanation.case
    on_gpu = case.options.device == "cuda"
    advice = [sentence("larger-batch", batch=case.batch)]
    if on_gpu and case.backend.startswith("trt") and not case.options.variant:
        advice.append(sentence("trt-cuda-graph"))
    if on_gpu and case.backend == "compile" and case.options.compile_mode == "default":
        advice.append(sentence("compile-cuda-graph"))
    if case.backend == "eager":
        advice.append(sentence("fewer-kernels"))
    return advice


def _kernel_advice(explanation: Explanation, _: Alignment | None) -> list[Sentence]:
    if explanation.case.precision != "int8":
        return [sentence("other-precision", against=explanation.against)]
    return [sentence("keep-float", against=explanation.against, layers=_names(explanation, "kernel"))]


_ADVICE: dict[Cause, Callable[[Explanation, Alignment | None], list[Sentence]]] = {
    "misaligned": _round_to,
    "memory-bound": _memory_advice,
    "overhead-bound": _overhead_advice,
    "reformat": _reformat_advice,
    "kernel": _kernel_advice,
    "not-pruned": lambda explanation, _: [sentence("prune-kept", layers=_names(explanation, "not-pruned"))],
    "as-predicted": lambda explanation, _: [sentence("set-widths", layers=_names(explanation, "as-predicted"))],
    "faster": lambda *_: [sentence("compare-traces")],
    "other": lambda *_: [sentence("compare-traces")],
}


def _names(explanation: Explanation, cause: Cause, most: int = 3) -> str:
    """The layers that add most to a cause."""
    layers = sorted((layer for layer in explanation.layers if layer.cause == cause), key=lambda layer: -layer.delta_ms)
    return ", ".join(layer.name for layer in layers[:most])
