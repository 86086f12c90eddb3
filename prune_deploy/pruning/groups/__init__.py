"""Channel groups: layers whose channels must be removed together."""
