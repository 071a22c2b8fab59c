"""Classification: the rules by which what came of an attempt became an outcome, and their words for people.

What is known decides, never what is likely (specification, 4.1). An attempt's rule is recorded by its name with
the outcome, so that a history can say years later why a reply counted as it did, whatever is configured then:

    HTTP 402                    the status code, by the table below
    HTTP 503, Retry-After       the same, and the header was there
    HTTP 409, configured        the service's `statuses` say what it means
    HTTP 200, broken            its body is no JSON, cut or too long
    anything else               a name in OTHERS

Pure: no clock, no I/O.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from sagakeep.service import Outcome


class StatusRule(msgspec.Struct, frozen=True):
    """What a status code means; `permanent` is meant for NOT_DONE only: no further attempt."""

    outcome: Outcome
    permanent: bool = False


class Judgement(NamedTuple):
    """What a status code means, and why."""

    rule: StatusRule
    because: str


DONE: Final = StatusRule(Outcome.DONE)
UNKNOWN: Final = StatusRule(Outcome.UNKNOWN)
LATER: Final = StatusRule(Outcome.NOT_DONE)
REFUSED: Final = StatusRule(Outcome.NOT_DONE, permanent=True)

_IS_DONE: Final = Judgement(DONE, "2xx: done")
_TOO_MANY: Final = Judgement(LATER, "429: nothing was done; it may be tried again")
_BUSY: Final = Judgement(
    LATER, "503 with Retry-After: the service is busy and did nothing; it may be tried again"
)
_TIMED_OUT: Final = Judgement(UNKNOWN, "408 and 425: it may have been done")
_AT_WORK: Final = Judgement(
    UNKNOWN, "409 with Retry-After: an earlier attempt may still be at work"
)
_IS_REFUSED: Final = Judgement(
    REFUSED, "4xx: the service refused; nothing was done, and a further attempt would not help"
)
_REDIRECT: Final = Judgement(
    UNKNOWN, "3xx: it is not followed, for a service may well redirect after the deed"
)
_ERROR: Final = Judgement(UNKNOWN, "5xx: it may have failed before the deed or after it")
_OTHER: Final = Judgement(UNKNOWN, "no such status code is known: nobody can say")


def judgement_of(status: int, has_retry_after: bool) -> Judgement:
    """The table of status codes."""
    match status:
        case _ if 200 <= status < 300:
            return _IS_DONE
        case 429:
            return _TOO_MANY
        case 503 if has_retry_after:
            return _BUSY
        case 408 | 425:
            return _TIMED_OUT
        case 409 if has_retry_after:
            return _AT_WORK
        case _ if 400 <= status < 500:
            return _IS_REFUSED
        case _ if 300 <= status < 400:
            return _REDIRECT
        case _ if 500 <= status < 600:
            return _ERROR
        case _:
            return _OTHER


# Names of rules, as they are recorded.

CONNECT_TIMEOUT: Final = "connect timeout"
NO_CONNECTION: Final = "no connection"
CONNECTION_BROKE: Final = "connection broke"
NO_REQUEST: Final = "no request"
NO_REPLY: Final = "no reply in time"
QUEUE_FULL: Final = "queue full"
WITHDRAWN: Final = "withdrawn"
NO_SERVICE: Final = "no such service"
CALLER_RAISED: Final = "caller raised"
SERVICE_REFUSED: Final = "ServiceRefused"
SERVICE_UNAVAILABLE: Final = "ServiceUnavailable"
EXCEPTION: Final = "exception"
RESULT_BROKEN: Final = "result broken"
NO_OUTCOME: Final = "no outcome"

OTHERS: Final = {
    CONNECT_TIMEOUT: "the connect timed out: unknown, as any timeout",
    NO_CONNECTION: "no connection was made, so nothing was done; it may be tried again",
    CONNECTION_BROKE: "the connection broke after it was made: the call may have arrived",
    NO_REQUEST: "no request could be made of the call, so nothing was done, and never can be",
    NO_REPLY: "no answer came within the step's timeout: it may have been done",
    QUEUE_FULL: "too many calls wait for the service, so it was not called; it may be tried again",
    WITHDRAWN: "it still waited for its turn when the saga turned back, so it was not sent",
    NO_SERVICE: "the service is not configured any more, so it was not called",
    CALLER_RAISED: "the call ended with an error of ours or the client's: it may have been done",
    SERVICE_REFUSED: "ServiceRefused: nothing was done, and a further attempt would not help",
    SERVICE_UNAVAILABLE: "ServiceUnavailable: nothing was done yet; it may be tried again",
    EXCEPTION: "any other exception: the service may have failed before the deed or after it",
    RESULT_BROKEN: "what the method returned is no JSON that can be kept: it may have been done",
    NO_OUTCOME: 'the probe\'s answer has no "outcome" of done or not_done: it says nothing',
}

_RETRY_AFTER: Final = "Retry-After"
_CONFIGURED: Final = "configured"
_BROKEN: Final = "broken"
_HTTP: Final = re.compile(rf"HTTP (\d{{3}})(?:, ({_RETRY_AFTER}|{_CONFIGURED}|{_BROKEN}))?")


def http_rule(status: int, *, has_retry_after: bool = False, is_configured: bool = False) -> str:
    """Name the rule that a status code was judged by."""
    if is_configured:
        return f"HTTP {status}, {_CONFIGURED}"
    return f"HTTP {status}, {_RETRY_AFTER}" if has_retry_after else f"HTTP {status}"


def broken_rule(status: int) -> str:
    """Name the rule for a reply that cannot be kept."""
    return f"HTTP {status}, {_BROKEN}"


def words_of(rule: str) -> str:
    """Say what a rule is; "" for no rule, the name alone of one that a newer version has."""
    match = _HTTP.fullmatch(rule)
    if match is None:
        return OTHERS.get(rule, rule)
    status, how = int(match[1]), match[2]
    if how == _CONFIGURED:
        return f"the service's statuses in the configuration say what {status} means"
    if how == _BROKEN:
        return "the reply is cut, too long or no JSON: it may have been done, whatever its status"
    return judgement_of(status, how == _RETRY_AFTER).because
