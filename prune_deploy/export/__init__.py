"""Export of a module to deployable files: ONNX, TensorRT engines, the bundle."""
