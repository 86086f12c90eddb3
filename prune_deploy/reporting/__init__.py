"""Turns records into figures, texts, charts and files.

It reads records and samples only, so an old run renders without a GPU or a runtime.
"""
