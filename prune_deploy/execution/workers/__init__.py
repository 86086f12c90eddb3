"""Processes that open artifacts and time them, and the handles that the coordinator holds."""
