"""TensorRT's engines and sessions, for the trt backend."""
