"""Comparisons from plan to records, with worker processes and build workers."""
