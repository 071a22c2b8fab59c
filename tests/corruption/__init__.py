"""The corruption campaign: every small damage of a real journal, and what a start and a check make of it.

PYTHONPATH=tests python -m corruption --json      from the root of the repository
"""
