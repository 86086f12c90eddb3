"""ONNX Runtime's providers, errors and optimised layers, for the ort backend."""
