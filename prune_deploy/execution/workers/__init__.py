"""Worker processes that open and time artifacts, and their handles."""
