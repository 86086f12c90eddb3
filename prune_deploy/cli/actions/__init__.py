"""Actions of the commands, after their options are parsed.

The files have the names of those in commands.
"""
