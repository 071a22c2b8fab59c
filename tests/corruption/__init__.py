"""The corruption campaign: every small damage of a real journal, and what a start and a check make of it.

python -m tests.corruption --json      from the root of the repository
"""
