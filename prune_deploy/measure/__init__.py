"""How latencies become verdicts. Pure: no process, no clock and no runtime of its own, so all of it runs against a fake clock."""
