"""Evaluation of an artifact: parity with its module, accuracy, inference, bandwidth."""
