"""Checks of a plan before and after the cut: trial run, probe, search."""
