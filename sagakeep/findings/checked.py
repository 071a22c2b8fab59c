"""A checked text: all that can be said of the definition in it, each thing with its line and column.

What a creation would refuse is told as `errors`, by the same reader; nothing of it is raised, because to be wrong
is what a text is most of the time while it is typed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypedDict

from sagakeep.definition_file import DefinitionFile
from sagakeep.errors import BrokenFile
from sagakeep.findings.figures import figures
from sagakeep.findings.finding import Code, Finding, Severity
from sagakeep.findings.review import findings_in
from sagakeep.json_place import Places


class PlacedError(TypedDict):
    """What a creation would refuse: a JSON Pointer, and its line and column, 0 where nobody can say."""

    pointer: str
    detail: str
    line: int
    column: int


class PlacedFinding(TypedDict):
    """A finding, and where it is in the text."""

    code: Code
    severity: Severity
    pointer: str
    line: int
    column: int
    message: str
    fix: str


class CheckedView(TypedDict):
    """What is to be said of a definition. `valid`: it would be taken; else there are `errors` and nothing more.
    The `figures` say what it may take at worst."""

    valid: bool
    errors: list[PlacedError]
    findings: list[PlacedFinding]
    figures: list[str]


def checked(body: bytes, services: Collection[str] | None) -> CheckedView:
    """Read a text as a creation does, and review it. `services` are the names of those there are."""
    try:
        file = DefinitionFile("the body", body, services)
    except BrokenFile as error:
        errors: list[PlacedError] = [
            {
                "pointer": one.pointer,
                "detail": one.detail,
                "line": one.line,
                "column": one.column,
            }
            for one in error.faults
        ]
        return {"valid": False, "errors": errors, "findings": [], "figures": []}
    return {
        "valid": True,
        "errors": [],
        "findings": _placed(findings_in(file.definition), file.places),
        "figures": figures(file.definition),
    }


def _placed(findings: Sequence[Finding], places: Places) -> list[PlacedFinding]:
    placed: list[PlacedFinding] = []
    for one in findings:
        line, column = places.of(one.pointer)
        placed.append(
            {
                "code": one.code,
                "severity": one.severity,
                "pointer": one.pointer,
                "line": line,
                "column": column,
                "message": one.message,
                "fix": one.fix,
            }
        )
    return placed
