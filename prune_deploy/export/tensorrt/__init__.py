"""TensorRT engines, and what was built into them."""
