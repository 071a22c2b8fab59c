"""Benchmarks: `python -m bench NAME --json`. Each measures a floor in the same run and gives ratios."""
