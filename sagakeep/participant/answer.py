"""Answers: what a call was answered, as it is kept and given again; and the answers of the barrier itself.

The statuses are those that the orchestrator reads as what is meant:

    2xx                     done
    409                     refused for good: it came too late
    409 with Retry-After    not known yet: another request is at work on it; ask again
    422                     refused for good: the key was used with another body
    500                     not known: somebody was at work and did not come back
"""

from __future__ import annotations

import base64
import json
from enum import Enum
from typing import Final, NamedTuple

BYTES_MAX: Final = 1 << 20  # of an answer: the orchestrator reads no more

JSON_TYPE: Final = ("content-type", "application/json")
PROBLEM_TYPE: Final = ("content-type", "application/problem+json")


class AnswerTooLong(Exception):
    """The answer is longer than the orchestrator reads; the work must not be committed. Answer with less."""


class Meaning(Enum):
    """What an answer says of the work."""

    DONE = "done"
    REFUSED = "refused"  # nothing was done, and never will be
    NOT_YET = "not yet"  # nothing was done; ask again
    UNKNOWN = "unknown"


class Answer(NamedTuple):
    """A status, headers in lower case, and a body."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @property
    def meaning(self) -> Meaning:
        """Read it as the orchestrator does."""
        can_wait = any(name == "retry-after" for name, _ in self.headers)
        match self.status:
            case status if 200 <= status < 300:
                return Meaning.DONE
            case 429:
                return Meaning.NOT_YET
            case 503 if can_wait:
                return Meaning.NOT_YET
            case 408 | 425:
                return Meaning.UNKNOWN
            case 409 if can_wait:
                return Meaning.UNKNOWN
            case status if 400 <= status < 500:
                return Meaning.REFUSED
            case _:
                return Meaning.UNKNOWN

    def to_text(self) -> str:
        """Encode it for a TEXT column: JSON in ASCII, without NUL."""
        try:
            body: object = self.body.decode()
        except UnicodeDecodeError:
            body = {"base64": base64.b64encode(self.body).decode()}
        return json.dumps({"status": self.status, "headers": self.headers, "body": body})


def answer_of_text(text: str) -> Answer:
    """Decode what `to_text` made."""
    document = json.loads(text)
    body = document["body"]
    data = body.encode() if isinstance(body, str) else base64.b64decode(body["base64"])
    headers = tuple((name, value) for name, value in document["headers"])
    return Answer(document["status"], headers, data)


def answer_of(value: object, status: int = 200) -> Answer:
    """Make the answer whose body is a value as JSON.

    Raises TypeError or ValueError for what JSON has not, AnswerTooLong.
    """
    body = json.dumps(value, allow_nan=False).encode()
    if len(body) > BYTES_MAX:
        raise AnswerTooLong(f"the answer has {len(body)} bytes; at most {BYTES_MAX} are read")
    return Answer(status, (JSON_TYPE,), body)


def value_of(answer: Answer | None) -> object:
    """Return the JSON value of an answer's body; None when there is no answer or its body is no JSON."""
    try:
        return json.loads(answer.body) if answer is not None and answer.body else None
    except ValueError:
        return None


def problem(status: int, title: str, detail: str, *more: tuple[str, str]) -> Answer:
    """Make a problem document (RFC 9457)."""
    document = {"title": title, "status": status, "detail": detail}
    return Answer(status, (PROBLEM_TYPE, *more), json.dumps(document).encode())


NOTHING_TO_UNDO: Final = answer_of({"undone": False})
NOT_DONE: Final = answer_of({"outcome": "not_done"})
TOO_LATE: Final = problem(
    409, "Too late", "the action was undone, or its undo or a probe came before it"
)
BUSY: Final = problem(
    409, "In progress", "another request with this key is at work", ("retry-after", "1")
)
OTHER_BODY: Final = problem(
    422, "Key reused", "this Idempotency-Key came before with another body or phase"
)
IN_DOUBT: Final = problem(
    500,
    "In doubt",
    "a request with this key was begun and has no answer; it may have done its work",
)


def known(action: Answer | None) -> Answer:
    """Answer a probe of an action that is done."""
    return answer_of({"outcome": "done", "result": value_of(action)})
