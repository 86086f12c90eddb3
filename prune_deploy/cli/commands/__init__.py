"""Click declarations, one file per command.

They import nothing heavy.
"""
