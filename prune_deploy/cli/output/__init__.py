"""What is printed: console, progress bars, tables."""
