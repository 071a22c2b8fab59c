"""Fuzzing of the HTTP edge, against a real server process.

PYTHONPATH=tests python -m fuzz raw --requests 10000
PYTHONPATH=tests python -m fuzz contract --requests 1500
"""
