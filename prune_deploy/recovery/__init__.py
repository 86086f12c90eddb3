"""Accuracy of pruned networks back without training or labels."""
