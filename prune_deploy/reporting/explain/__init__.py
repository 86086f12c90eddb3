"""From two traces to causes."""
