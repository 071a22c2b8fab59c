"""What a check expects of an answer, and how bad it is when something else comes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from sagakeep.service import AttemptResult, Outcome

CAME_CHARS_MAX: Final = 120  # of an answer in the report


class Severity(StrEnum):
    """What a failure costs: money or goods; a saga that stands still; or nothing, as long as all is well."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"


class Misbehaved(Exception):
    """The service did what it must not: the check has failed. Its text says what came instead of what.

    `severity` is that of the check, unless it is told otherwise.
    """

    def __init__(self, text: str, severity: Severity | None = None) -> None:
        super().__init__(text)
        self.severity = severity


class Blocked(Exception):
    """What the check builds on did not work, so it could not be made. Its text says what came."""


def need_done(result: AttemptResult, name: str) -> None:
    """Raises Blocked for what another check is about."""
    if result.outcome is not Outcome.DONE:
        raise Blocked(f"it builds on {name}, which was not done: {text_of(result)}")


def expect_done(result: AttemptResult, name: str, severity: Severity | None = None) -> None:
    if result.outcome is not Outcome.DONE:
        raise Misbehaved(f"{name}: {text_of(result)}; expected done (2xx)", severity)


def expect_same(
    again: AttemptResult, first: AttemptResult, name: str, severity: Severity | None = None
) -> None:
    """The answer has to be done, with the same result; `severity` is that of another result."""
    expect_done(again, name, Severity.MAJOR)
    if again.result != first.result:
        text = f"{name}: {text_of(again)}; the first answer was {text_of(first)}"
        raise Misbehaved(text, severity)


def expect_refused(result: AttemptResult, name: str) -> None:
    """The answer has to be a no; one that says nothing is not as bad as done."""
    if not is_refused(result):
        severity = None if result.outcome is Outcome.DONE else Severity.MAJOR
        text = f"{name}: {text_of(result)}; expected a refusal for good (409)"
        raise Misbehaved(text, severity)


def is_refused(result: AttemptResult) -> bool:
    return result.outcome is Outcome.NOT_DONE and result.permanent


def kind_of(result: AttemptResult) -> str:
    """Say in a word what the orchestrator reads."""
    match result.outcome:
        case Outcome.DONE:
            return "done"
        case Outcome.NOT_DONE:
            return "refused" if result.permanent else "not yet"
        case Outcome.UNKNOWN:
            return "unknown"


def text_of(result: AttemptResult) -> str:
    """Say what the orchestrator reads."""
    is_done = result.outcome is Outcome.DONE
    words = f" {json.dumps(result.result, ensure_ascii=False)}" if is_done else f": {result.error}"
    text = kind_of(result) + words
    return text if len(text) <= CAME_CHARS_MAX else text[: CAME_CHARS_MAX - 1] + "…"


def summary_of(results: list[AttemptResult], say: Callable[[AttemptResult], str]) -> str:
    """Say how often each answer came, the most frequent first."""
    counts = Counter(say(result) for result in results).most_common()
    parts = [f"{count} x {text}" for text, count in counts[:3]]
    return "; ".join(parts) + ("; ..." if len(counts) > 3 else "")
