"""PyTorch's sessions, switches and precisions, for the eager and compile backends."""
