"""Fuzzing of the HTTP edge: `python -m fuzz raw` and `python -m fuzz contract`, against a real server process."""
