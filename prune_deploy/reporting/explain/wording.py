"""The texts of explanations: evidence, sentences and advice, by key."""

from __future__ import annotations

from collections.abc import Sequence

from prune_deploy.records import Cause
from prune_deploy.reporting.figures.formatting import interval, share
from prune_deploy.reporting.figures.sentence import Sentence, Texts, render


def in_words(statement: Sentence) -> str:
    """Write evidence, a sentence or advice as text."""
    return render(statement, TEXTS)


def _moved(moved_bytes: float, gb_s: float, memory_gb_s: float) -> str:
    size = f"{moved_bytes / 1e6:.1f} MB" if moved_bytes >= 1e5 else f"{moved_bytes / 1e3:.1f} kB"
    return f"moves {size} at {gb_s:.3g} GB/s of the memory's {memory_gb_s:.3g} GB/s"


def _only_bytes(left: float, times: float, **rate: float) -> str:
    return f"no MACs, {_moved(**rate)}, ×{left:.2f} of the bytes, ×{times:.2f} of the time"


def _many_bytes(left: float, work: str, **rate: float) -> str:
    return f"{_moved(**rate)}, ×{left:.2f} of the {work}"


def _padded(widths: Sequence[int], multiple: int, waste: float) -> str:
    return f"{' × '.join(map(str, widths))} channels are padded to multiples of {multiple}: {share(waste)} more MACs than needed"


def _lost_kernel(why: Sentence, kernel: str, dense_kernel: str) -> str:
    return f"{in_words(why)}: it runs in {kernel} instead of {dense_kernel}"


def _unexplained(times: float, left: float, work: str, memory_share: float, padding_share: float) -> str:
    found = f"memory is {share(memory_share)} of it, padding {share(padding_share)}"
    return f"×{times:.2f} of the time for ×{left:.2f} of the {work}: {found}"


_EVIDENCE: Texts = {
    "unknown-work": "×{times:.2f} of the time, its own work is not known, the network has ×{macs_left:.2f} of the MACs",
    "copies": "moves or converts values and computes nothing: {count} of them, the dense model has {dense_count}",
    "dense-only": "only in the dense model's graph: fused or dropped in the pruned one",
    "pruned-only": "only in the pruned model's graph: the runtime fused the two graphs differently",
    "not-fused": "runs on its own: {channels} channels are no multiple of {multiple}, so it is not fused",
    "same-work": "the same {work} in ×{times:.2f} of the time",
    "other-kernel": "the same {work} in ×{times:.2f} of the time: it runs in {kernel} instead of {dense_kernel}",
    "kept-size": "the same {work} as before, ×{times:.2f} of the time",
    "only-bytes": _only_bytes,
    "no-work": "next to no work: it takes {time_us:.1f} µs, the smallest of its kind take {floor_us:.1f} µs",
    "as-predicted": "×{left:.2f} of the {work}, ×{times:.2f} of the time",
    "faster": "×{left:.2f} of the {work}, ×{times:.2f} of the time, in the same kernel as far as is known: something held up the dense run",
    "faster-kernel": "×{left:.2f} of the {work}, ×{times:.2f} of the time: it runs in {kernel} instead of {dense_kernel}",
    "little-work": "its work needs {work_us:.1f} µs, it takes {time_us:.1f} µs, the smallest of its kind take {floor_us:.1f} µs",
    "padded": _padded,
    "many-bytes": _many_bytes,
    "unexplained": _unexplained,
    "lost-kernel": _lost_kernel,
    "channels": "{count} channels are no multiple of {multiple}",
    "input-channels": "{count} input channels are no multiple of {multiple}",
    "channels-per-group": "{count} input channels per group are no multiple of {multiple}",
    "idle": lambda idle_share: f"no layer runs for {idle_share:.1%} of a run",
}


def _cause(
    cause: Cause, delta_ms: float, gap_ms: float, is_first: bool, against: str, example: tuple[str, str] | None, **found: object
) -> str:
    beyond = f"{against}'s time" if against else "the prediction"
    begin = f"Of the {gap_ms:.4g} ms beyond {beyond}, {delta_ms:.4g} ms ({share(delta_ms / gap_ms)}) "
    if not is_first:
        begin = f"Another {delta_ms:.4g} ms "
    largest = f" The largest is {example[0]}: {example[1]}." if example is not None else ""
    return f"{begin}{_BECAUSE[cause].format(**found, against=against)}.{largest}"


_BECAUSE: dict[Cause, str] = {
    "misaligned": "come from misaligned channels: {layers} with widths that do not fit {kernels}",
    "memory-bound": "come from {layers} bound by memory, measured at {bandwidth_gb_s:.3g} GB/s: pruning removed fewer bytes than MACs",
    "overhead-bound": "are the cost of starting work, apart from the work itself",
    "reformat": "go into copies and changes of layout or type",
    "kernel": "come from {layers} whose {precision} kernels take longer than those of {against}",
    "not-pruned": "come from {layers} that kept their size and take more time per MAC than the average",
    "as-predicted": "come from removing MACs that took less time each than those that stayed",
    "faster": "are negative: {layers} are far faster than their MACs predict, in another kernel or against a disturbed dense run",
    "other": "have no explanation in MACs, bytes, widths or copies",
}

_SENTENCES: Texts = {
    "pruned": "{label} has {macs_left:.2f}× the dense model's MACs, which predicts {predicted_ms:.4g} ms. It takes {measured_ms:.4g} ms, "
    "{times:.2f}× the dense model's {dense_ms:.4g} ms.",
    "precisions": "{label} takes {measured_ms:.4g} ms in {precision} and {dense_ms:.4g} ms in {against}: {precision} takes {times:.2f}× "
    "the time for the same MACs.",
    "gains-and-losses": "Faster layers save {gained_ms:.4g} ms, slower and added layers cost {lost_ms:.4g} ms.",
    "faster-than-predicted": lambda difference: f"There is no gap: it is {share(difference)} faster than its MACs predict.",
    "no-gap": lambda difference: f"There is no gap: measured and predicted time differ by {share(difference)}.",
    "may-be-noise": lambda speedup, low, high, macs_ratio: (
        f"The gap may be noise: the speed-up, {interval(speedup, low, high)}, reaches the MACs ratio, {macs_ratio:.2f}."
    ),
    "cause": _cause,
    "fused-kernels": lambda unknown_share: (
        f"{share(unknown_share)} of its layer time is in kernels that fuse several layers. Their own work is unknown. "
        "Each is compared with the dense model's kernel of the same name, or with the whole network where there is none."
    ),
}

_ADVICE: Texts = {
    "round-to": "Prune with `round_to={block}`: whole blocks of {kernels}, with nothing padded or reordered.",
    "convert-less": "Every change of type costs a pass over the data. Convert whole stretches of the network, or stay in {against}.",
    "one-layout": "Measure with `channels_last=True`: PyTorch then keeps one layout through the network.",
    "fuse": "Run it through compile, ort or trt, which fuse element-wise layers into their neighbours and save their bytes.",
    "channels-last": "Measure with `channels_last=True`.",
    "narrow-maps": "Narrow the feature maps that these layers carry (prune without `bottleneck`): {layers}.",
    "larger-batch": "Use a larger batch than {batch} where the service allows it: starting a layer costs the same for more images.",
    "trt-cuda-graph": "Run the engine as a CUDA graph, backend trt:cuda-graph.",
    "compile-cuda-graph": "Capture it in a CUDA graph with `compile_mode=reduce-overhead`.",
    "fewer-kernels": "Run it through compile, ort or trt, which start fewer and larger kernels.",
    "other-precision": "Deploy it in {against} on this runtime.",
    "keep-float": "Keep these layers in float (`keep`), or deploy it in {against} on this runtime: {layers}.",
    "prune-kept": "Prune what kept its size (the bundle's receipt says why it did): {layers}.",
    "set-widths": "Take more channels from where a MAC costs most time (`plan` sets widths): {layers}.",
    "compare-traces": "Look at both traces side by side in Perfetto (the run's traces/ folder).",
}

TEXTS: Texts = {**_EVIDENCE, **_SENTENCES, **_ADVICE}
"""Every text of an explanation. A key stands for one text alone."""
