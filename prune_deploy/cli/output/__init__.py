"""Output on the terminal: console, progress bars and tables."""
