"""Settings that ONNX Runtime's CPU kernels need to compute INT8 correctly."""

from __future__ import annotations

EXACT_PRODUCTS = ("session.x64quantprecision", "1")
"""Session entry that keeps eight-bit products from saturating on x86 processors without VNNI.

Their kernels add pairs of products in 16 bits. On an AVX-512 Xeon without VNNI a test_resnet had cosine 0.70 to FP32 without the
entry and 0.998 with it. Processors with VNNI are not affected. Source: onnxruntime_session_options_config_keys.h.
"""

WRONG_IN_FP16 = "WeightBiasQuantization"
"""Optimizer that damages INT8 layers of an FP16 file.

It turns a float bias between DQ and Q into int32 by a division in the graph's own type. FP16 ends at 65504 and a bias in steps of
scale × scale does not, so the convolution gets another bias. With ONNX Runtime 1.31 the cosine of a test_resnet was 0.978 instead of
0.9998.
"""
