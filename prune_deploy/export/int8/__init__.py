"""INT8 files with Q/DQ nodes from the FP32 file."""
