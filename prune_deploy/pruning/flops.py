"""PyTorch's counter of floating-point operations, complete for attention on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry


def flop_counter() -> FlopCounterMode:
    """Return a counter of two FLOPs per MAC. It prints nothing.

    PyTorch before 2.15 does not know the CPU's fused attention, and counts 0 there. It has the operands of the GPU's.
    """
    aten = torch.ops.aten
    on_cpu, on_gpu = aten._scaled_dot_product_flash_attention_for_cpu, aten._scaled_dot_product_flash_attention
    if on_cpu in flop_registry:
        return FlopCounterMode(display=False)

    def attention(*operands: Any, **more: Any) -> int:
        return int(flop_registry[on_gpu](*operands, **more))

    attention._get_raw = True  # type: ignore[attr-defined]  # the entry reads the shapes by itself
    return FlopCounterMode(display=False, custom_mapping={on_cpu: attention})
