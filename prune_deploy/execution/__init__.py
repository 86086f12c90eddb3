"""Candidates in processes of their own, and the token that lets one of them run at a time."""
