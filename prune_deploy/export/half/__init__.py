"""Conversion of the FP32 file to FP16 and BF16."""
