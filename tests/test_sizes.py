"""The sizes of functions and modules: hard limits fail, soft ones are reported.

python tests/test_sizes.py        prints the report
"""

from __future__ import annotations

import ast
import statistics
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
FOLDERS = ("sagakeep", "bench", "tests/blackbox", "tests/fuzz")
FUNCTION_LINES_MAX, FUNCTION_LINES_SOFT = 50, 25
MODULE_LINES_MAX, MODULE_LINES_SOFT = 400, 250


class Sized(NamedTuple):
    lines: int
    place: str


def modules():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, path.read_text()


def module_sizes():
    """Lines of each module, the largest first."""
    sizes = [Sized(len(text.splitlines()), str(path.relative_to(ROOT))) for path, text in modules()]
    return sorted(sizes, reverse=True)


def function_sizes():
    """Lines of each function from its first decorator to its end, the largest first."""
    sizes = []
    for path, text in modules():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                place = f"{path.relative_to(ROOT)}:{first} {node.name}"
                sizes.append(Sized((node.end_lineno or first) - first + 1, place))
    return sorted(sizes, reverse=True)


def report(name, sizes, soft, hard):
    lines = [one.lines for one in sizes]
    above = sum(line > soft for line in lines)
    head = f"{len(lines)} {name}, median {statistics.median(lines):g} lines, {above} above {soft}, limit {hard}"
    return "\n".join([head, *(f"  {one.lines:4} {one.place}" for one in sizes[:8])])


def test_no_function_is_longer_than_a_screen():
    sizes = function_sizes()
    assert sizes[0].lines <= FUNCTION_LINES_MAX, report_of_functions(sizes)


def test_no_module_is_longer_than_its_noun():
    sizes = module_sizes()
    assert sizes[0].lines <= MODULE_LINES_MAX, report_of_modules(sizes)


def report_of_functions(sizes):
    return report("functions", sizes, FUNCTION_LINES_SOFT, FUNCTION_LINES_MAX)


def report_of_modules(sizes):
    return report("modules", sizes, MODULE_LINES_SOFT, MODULE_LINES_MAX)


if __name__ == "__main__":
    print(report_of_functions(function_sizes()))
    print(report_of_modules(module_sizes()))
