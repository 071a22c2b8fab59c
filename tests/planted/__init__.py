"""Tests of the tests: bugs of a line, planted one at a time in a copy of the product, and what catches them.

PYTHONPATH=tests python -m planted             every bug, and the table
PYTHONPATH=tests python -m planted --bug undo-overtakes-action --json
"""
