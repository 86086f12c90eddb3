"""Conversion of the FP32 file to INT8 files with Q/DQ nodes."""
