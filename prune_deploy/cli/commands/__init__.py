"""Click declarations, one file per command; they import nothing heavy."""
