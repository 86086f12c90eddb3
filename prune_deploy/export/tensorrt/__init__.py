"""TensorRT engines, and reports of what was built into them."""
