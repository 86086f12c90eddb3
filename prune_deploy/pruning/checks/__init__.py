"""Checks of a plan before the cut.

They are the trial run without weights, and the probe with them.
"""
