"""A finding: one thing that a careful reviewer would say about a definition that is accepted.

A fault breaks a rule, and the definition is refused; a finding does not, and the saga runs. Each has a
code, which `docs/findings.md` explains under a heading of that name.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"  # some world leaves the saga half done, or standing with no way out
    WARNING = (
        "warning"  # it does not do what it seems to say, or more often than need be asks a person
    )


class Code(StrEnum):
    """What kind of finding it is; a code keeps its meaning for ever."""

    NO_COMPENSATION = "no-compensation"
    IRREVERSIBLE_NOT_LAST = "irreversible-not-last"
    UNDO_IS_ACTION = "undo-is-action"
    UNDO_WITHOUT_RETRIES = "undo-without-retries"
    UNDO_UNUSED = "undo-unused"
    NO_WAY_OUT = "no-way-out"
    UNDO_NEEDS_RESULT = "undo-needs-result"
    PIVOT_IN_DOUBT = "pivot-in-doubt"
    PROBE_IS_DEED = "probe-is-deed"
    PROBE_UNUSED = "probe-unused"
    IN_DOUBT_UNUSED = "in-doubt-unused"
    DEADLINE_TOO_SHORT = "deadline-too-short"
    HELD_BY_DEADLINE = "held-by-deadline"
    RETRIABLE_BEFORE_PIVOT = "retriable-before-pivot"
    RETRIABLE_WITH_END = "retriable-with-end"
    ELAPSED_TOO_SHORT = "elapsed-too-short"
    INTERVAL_UNUSED = "interval-unused"
    RESULT_UNUSED = "result-unused"
    ALWAYS_NULL = "always-null"
    SENSITIVE_COPIED = "sensitive-copied"


_WARNINGS: Final = frozenset(
    {
        Code.UNDO_WITHOUT_RETRIES,
        Code.UNDO_UNUSED,
        Code.PROBE_UNUSED,
        Code.IN_DOUBT_UNUSED,
        Code.HELD_BY_DEADLINE,
        Code.RETRIABLE_WITH_END,
        Code.ELAPSED_TOO_SHORT,
        Code.INTERVAL_UNUSED,
        Code.RESULT_UNUSED,
        Code.ALWAYS_NULL,
    }
)


class Finding(msgspec.Struct, frozen=True):
    """One finding. `pointer` is a JSON Pointer into the definition; `fix` says what to change."""

    code: Code
    severity: Severity
    pointer: str
    message: str
    fix: str


def severity_of(code: Code) -> Severity:
    """Return how bad findings of this code are."""
    return Severity.WARNING if code in _WARNINGS else Severity.ERROR


def finding(code: Code, pointer: str, message: str, fix: str) -> Finding:
    """Make a finding; its severity is that of its code."""
    return Finding(code, severity_of(code), pointer, message, fix)
