"""Statistics and control of a comparison: from latencies to verdicts.

The package is pure. It has no process, no clock and no runtime of its own, so all of it runs against a fake clock.
"""
