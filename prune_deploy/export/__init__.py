"""From a module to files that can be deployed: ONNX, TensorRT engines, and the bundle that holds them."""
