"""Requests: what the headers and the body of one say, read strictly and told in one go."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from typing import Final, ParamSpec, TypeVar

import anyio
import anyio.to_thread
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from sagakeep import limits
from sagakeep.conversion import read_struct
from sagakeep.definition import SagaDefinition
from sagakeep.errors import SagakeepError, SagaNotFound
from sagakeep.faults import Faults
from sagakeep.http.auth import LOCAL, Principal
from sagakeep.http.replies import JSON, TEXT
from sagakeep.json_text import parse_batch, parse_json
from sagakeep.move_requests import MoveRequest
from sagakeep.trace import context_of
from sagakeep.validation import definition_of

BYTES_ON_LOOP_MAX: Final = 32 << 10  # reading more takes longer than a thread costs
THREADS: Final = 2  # that read large bodies; they share one interpreter anyway
NDJSON: Final = frozenset({"application/x-ndjson", "application/ndjson"})

_Parameters = ParamSpec("_Parameters")
_Read = TypeVar("_Read")

_threads: Final = anyio.CapacityLimiter(THREADS)
_is_name: Final = re.compile(limits.NAME_PATTERN).fullmatch
_is_key: Final = re.compile(limits.IDEMPOTENCY_KEY_PATTERN).fullmatch
_is_actor: Final = re.compile(limits.ACTOR_PATTERN).fullmatch
_WAIT: Final = re.compile(r'wait\s*=\s*"?(\d{1,9}(?:\.\d{1,9})?)"?', re.IGNORECASE)
_VERSION: Final = re.compile(r'"(\d{1,18})"')  # never weak: it is compared strongly
_ENTITY_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')


# The path and the headers


def saga_id_of(request: Request) -> str:
    """Return the id in the path. Raises SagaNotFound for what cannot be one."""
    saga_id: str = request.path_params["id"]
    if not _is_name(saga_id):
        raise SagaNotFound(saga_id[: limits.TAG_CHARS_MAX])
    return saga_id


def actor_of(request: Request) -> str:
    """Who asks, as the history keeps it: the name of the key that was shown. A server that asks nobody for a key
    takes the header Saga-Actor for it, and marks that as only stated. Raises InvalidDefinition."""
    principal = request.scope.get("state", {}).get("principal")
    if isinstance(principal, Principal) and principal is not LOCAL:
        return principal.name
    given = request.headers.getlist("saga-actor")
    if not given:
        return principal.name if isinstance(principal, Principal) else ""
    faults = Faults()
    if len(given) > 1 or not _is_actor(given[0]):
        faults.add("/Saga-Actor", f"is no name; expected one header of {limits.ACTOR_PATTERN}")
    faults.raise_any()
    return f"{given[0]} (stated)"  # no key has such a name


def idempotency_key_of(request: Request) -> str:
    """Return the Idempotency-Key, "" when there is none. Raises InvalidDefinition."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return ""
    faults = Faults()
    if len(given) > 1 or not _is_key(given[0]):
        allowed = f"1 to {limits.IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters"
        faults.add("/Idempotency-Key", f"is no key; expected one header of {allowed}")
    faults.raise_any()
    return given[0]


def refuse_idempotency_key(request: Request) -> None:
    """Refuse a key where it would not protect, rather than let the client believe that it does."""
    faults = Faults()
    if "idempotency-key" in request.headers:
        faults.add("/Idempotency-Key", "is not for batches: give each saga an id instead")
    faults.raise_any()


def traceparent_of(request: Request) -> str:
    """Return the W3C trace context, "" when there is none or it is not well-formed."""
    given = request.headers.getlist("traceparent")
    return given[0] if len(given) == 1 and context_of(given[0]) else ""


def wait_s_of(request: Request) -> float | None:
    """Return how long the client prefers to wait, None when it does not; a longer wait is cut."""
    for preference in _preferences(request):
        wait = _WAIT.fullmatch(preference)
        if wait:
            return min(float(wait[1]), limits.WAIT_S_MAX)
    return None


def wants_findings(request: Request) -> bool:
    """Does the client prefer to be told what a reviewer would say about its definition?"""
    return any(preference.lower() == "findings" for preference in _preferences(request))


def _preferences(request: Request) -> list[str]:
    given = ",".join(request.headers.getlist("prefer")).split(",")
    return [preference.partition(";")[0].strip() for preference in given]


def is_unchanged(request: Request, etag: str) -> bool:
    """Does the client have this version already (If-None-Match)?"""
    given = ",".join(request.headers.getlist("if-none-match"))
    return given.strip() == "*" or etag in _ENTITY_TAG.findall(given)


def versions_of(request: Request) -> tuple[int, ...]:
    """Return the versions of the saga that the request is for (If-Match), () for any. A tag that is none of ours
    is of no version."""
    given = request.headers.getlist("if-match")
    tags = [tag.strip() for tag in ",".join(given).split(",")]
    if not given or tags == ["*"]:
        return ()
    found = [_VERSION.fullmatch(tag) for tag in tags]
    return tuple([int(one[1]) if one else 0 for one in found])


def wants_stream(request: Request) -> bool:
    """Is it a GET that accepts a stream of events?"""
    return request.method == "GET" and "text/event-stream" in _accepted(request)


def wants_text(request: Request) -> bool:
    """Is plain text accepted, and JSON not?"""
    kinds = _accepted(request)
    return TEXT in kinds and JSON not in kinds


def _accepted(request: Request) -> set[str]:
    accepted = ",".join(request.headers.getlist("accept")).lower().split(",")
    return {one.partition(";")[0].strip() for one in accepted}


# Bodies


async def read_definition(
    request: Request, services: Collection[str]
) -> tuple[SagaDefinition, bytes]:
    """Read one saga and the SHA-256 of its text.

    Raises HTTPException 415, MalformedJson, InvalidDefinition.
    """
    _require(request, {JSON})
    body = await request.body()
    definition = await _apart(len(body), _definition_in, body, services)
    return definition, hashlib.sha256(body).digest()


async def read_text(request: Request) -> bytes:
    """Read the text of one saga, whatever is wrong with it. Raises HTTPException 415."""
    _require(request, {JSON})
    return await request.body()


def _definition_in(body: bytes, services: Collection[str]) -> SagaDefinition:
    return definition_of(parse_json(body), services)


async def read_batch(
    request: Request, services: Collection[str]
) -> list[SagaDefinition | SagakeepError]:
    """Read the sagas of a batch, in order; one that is wrong is there as the error that tells why.

    Raises as `read_definition`, for the batch as a whole.
    """
    media_type = _require(request, {JSON, *NDJSON})
    body = await request.body()
    return await _apart(len(body), _batch_in, body, media_type in NDJSON, services)


def _batch_in(
    body: bytes, ndjson: bool, services: Collection[str]
) -> list[SagaDefinition | SagakeepError]:
    return [_entry_in(document, services) for document in parse_batch(body, ndjson)]


def _entry_in(document: object, services: Collection[str]) -> SagaDefinition | SagakeepError:
    if isinstance(document, SagakeepError):
        return document
    try:
        return definition_of(document, services)
    except SagakeepError as error:
        return error


async def read_object(request: Request) -> object:
    """Read any JSON. Raises HTTPException 415, MalformedJson."""
    _require(request, {JSON})
    body = await request.body()
    return await _apart(len(body), parse_json, body)


async def read_move(request: Request, kind: type[MoveRequest]) -> MoveRequest:
    """Read the body of a move, which may be missing where nothing must be said. Raises as `read_definition`."""
    body = await request.body()
    faults = Faults()
    if body or _has_required(kind):
        _require(request, {JSON})
        said = await _apart(len(body), lambda: read_struct(kind, parse_json(body), faults))
    else:
        said = kind()
    said.check(faults)
    faults.raise_any()
    return said


def _has_required(kind: type[MoveRequest]) -> bool:
    return any(field.required for field in msgspec.structs.fields(kind))


def _require(request: Request, kinds: Collection[str]) -> str:
    media_type = ",".join(request.headers.getlist("content-type")).partition(";")[0].strip().lower()
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise HTTPException(415, f"the body is encoded with {coding!r}; send it as it is")
    if media_type not in kinds:
        found = f"the body is {media_type!r}" if media_type else "the body has no Content-Type"
        raise HTTPException(415, f"{found}; expected {' or '.join(sorted(kinds))}")
    return media_type


async def _apart(
    size_bytes: int,
    read: Callable[_Parameters, _Read],
    *args: _Parameters.args,
    **kwargs: _Parameters.kwargs,
) -> _Read:
    """Read a large body in a thread, so that the loop is never held up."""
    if size_bytes <= BYTES_ON_LOOP_MAX:
        return read(*args, **kwargs)
    return await anyio.to_thread.run_sync(lambda: read(*args, **kwargs), limiter=_threads)
