"""Checks of a plan before and after the cut.

They are the trial run, the probe and their search.
"""
