"""Channel groups: which channels of which layers belong together."""
