"""Errors as RFC 9457 problem documents: one shape for every error of the edge, and one table.

    {"type", "title", "status", "detail", "instance", "errors": [{"pointer", "detail"}], ...}

`type` is a reference to the page that explains the problem. `status` is that of HTTP; a saga's own is
`sagaStatus`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from sagakeep.errors import (
    DiskFull,
    Fault,
    IdempotencyKeyReused,
    InDoubt,
    InvalidDefinition,
    InvalidMoment,
    MalformedJson,
    MoveRefused,
    PlanRefused,
    SagaExists,
    SagakeepError,
    SagaMoved,
    SagaNotFound,
    ServiceNotFound,
    Unavailable,
    UnknownStep,
)

MEDIA_TYPE: Final = "application/problem+json"
TYPES_URL: Final = "/docs/problems"


class Kind(NamedTuple):
    """What a class of errors is to a client; the anchor of its page is made of the title."""

    status: HTTPStatus
    title: str


KINDS: Final[Mapping[type[SagakeepError], Kind]] = {
    MalformedJson: Kind(HTTPStatus.BAD_REQUEST, "Malformed JSON"),
    InvalidDefinition: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid saga definition"),
    InvalidMoment: Kind(HTTPStatus.BAD_REQUEST, "Invalid moment"),
    SagaNotFound: Kind(HTTPStatus.NOT_FOUND, "Saga not found"),
    ServiceNotFound: Kind(HTTPStatus.NOT_FOUND, "Service not found"),
    SagaExists: Kind(HTTPStatus.CONFLICT, "Saga exists"),
    IdempotencyKeyReused: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "Idempotency key reused"),
    MoveRefused: Kind(HTTPStatus.CONFLICT, "Move refused"),
    SagaMoved: Kind(HTTPStatus.PRECONDITION_FAILED, "Saga moved"),
    PlanRefused: Kind(HTTPStatus.CONFLICT, "Plan refused"),
    UnknownStep: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "Unknown step"),
    Unavailable: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "Unavailable"),
    DiskFull: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "Disk full"),
    InDoubt: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "In doubt"),
}
IN_DOUBT: Final = (
    "the server is ending; whether this was done is not known: repeat it under its key, or look"
)
_BUG: Final = Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error")
_DISK_RETRY_AFTER_S: Final = 10
_ENDING_RETRY_AFTER_S: Final = 5


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    instance: str = "",
    errors: Iterable[Fault] = (),
    headers: Mapping[str, str] | None = None,
    **extra: object,
) -> Response:
    """Make a problem document's response; empty members are left out."""
    document = problem_document(status, title, detail, instance=instance, errors=errors, **extra)
    body = msgspec.json.encode(document)
    return Response(body, status, dict(headers or {}), media_type=MEDIA_TYPE)


def problem_document(
    status: int,
    title: str,
    detail: str,
    *,
    instance: str = "",
    errors: Iterable[Fault] = (),
    **extra: object,
) -> dict[str, object]:
    """Make the document alone, as the entries of a batch have it."""
    anchor = "-".join(title.lower().split())
    document: dict[str, object] = {
        "type": f"{TYPES_URL}#{anchor}",
        "title": title,
        "status": int(status),
        "detail": detail,
    }
    faults = [{"pointer": fault.pointer, "detail": fault.detail} for fault in errors]
    if instance:
        document["instance"] = instance
    if faults:
        document["errors"] = faults
    return document | extra


def problem_of(error: SagakeepError, instance: str = "") -> Response:
    """Turn an error of ours into a response, by the table."""
    document = document_of(error, instance)
    headers = {"Retry-After": str(wait_s)} if (wait_s := _retry_after_s(error)) else {}
    status = int(_kind_of(error).status)
    return Response(msgspec.json.encode(document), status, headers, media_type=MEDIA_TYPE)


def document_of(error: SagakeepError, instance: str = "") -> dict[str, object]:
    """Turn an error of ours into a problem document; one that is not in the table says nothing."""
    kind = _kind_of(error)
    faults, extra = _particulars(error)
    return problem_document(
        kind.status, kind.title, _detail(error, kind), instance=instance, errors=faults, **extra
    )


def _detail(error: SagakeepError, kind: Kind) -> str:
    """What an error says, unless that is for the log: the names of our files are not for clients."""
    if kind is _BUG:
        return "an error of the server; its log says more"
    return IN_DOUBT if isinstance(error, InDoubt) else str(error)


def bug(instance: str) -> Response:
    """Own up to an error of the server, without its trace."""
    detail = "an error of the server; its log says more under this request id"
    return problem(_BUG.status, _BUG.title, detail, instance=instance)


def _kind_of(error: SagakeepError) -> Kind:
    return next((KINDS[one] for one in type(error).__mro__ if one in KINDS), _BUG)


def _particulars(error: SagakeepError) -> tuple[list[Fault], dict[str, object]]:
    match error:
        case InvalidDefinition():
            return error.faults, {}
        case UnknownStep():
            return [Fault("/stepID", str(error))], {}
        case MoveRefused():
            return [], {"sagaStatus": error.status, "allowed": list(error.allowed)}
        case _:
            return [], {}


def _retry_after_s(error: SagakeepError) -> int:
    match error:
        case Unavailable():
            return max(1, error.retry_after_s)
        case InDoubt():
            return _ENDING_RETRY_AFTER_S
        case DiskFull():
            return _DISK_RETRY_AFTER_S
        case _:
            return 0


async def _on_sagakeep_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, SagakeepError) or _kind_of(error) is _BUG:
        raise error
    return problem_of(error, request.url.path)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    title = HTTPStatus(error.status_code).phrase
    detail = error.detail if error.detail != title else _DETAILS.get(error.status_code, title)
    path = request.url.path
    return problem(error.status_code, title, detail, instance=path, headers=error.headers)


async def _on_bug(request: Request, error: Exception) -> Response:
    return bug(request.url.path)


_DETAILS: Final[Mapping[int, str]] = {
    404: "there is nothing at this path",
    405: "this path does not know this method; Allow names those it knows",
}

EXCEPTION_HANDLERS: Final[Mapping[type[Exception], ExceptionHandler]] = {
    SagakeepError: _on_sagakeep_error,
    HTTPException: _on_http_exception,
    Exception: _on_bug,  # Starlette raises it again once it is answered, for the edge to log
}
