"""FP16 and BF16 files from the FP32 file."""
