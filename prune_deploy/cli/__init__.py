"""The command line: one thin module per command, loaded lazily.

Only this package uses click, prints, and ends with exit codes.
"""
