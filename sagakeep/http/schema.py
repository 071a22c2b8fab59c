"""Schema: the OpenAPI 3.1 document, made of the table of routes and of the types that parse and show.

Nothing is described twice: the bodies are the types themselves (`msgspec.json.schema_components`), and
the operations are those that `sagakeep.http.app` serves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec

from sagakeep import limits
from sagakeep.http.handlers import Handler
from sagakeep.http.problems import MEDIA_TYPE as PROBLEM_JSON
from sagakeep.http.replies import JSON, Problem

API_VERSION: Final = "1.0.0"

Document = dict[str, object]


class Parameter(NamedTuple):
    """A parameter of a query, or a header of a request; `place` as OpenAPI's `in`."""

    name: str
    place: str
    schema: Mapping[str, object]
    description: str


class Body(NamedTuple):
    """A body: the type of its JSON, what other media types it may have, and one that may be sent."""

    kind: object
    is_required: bool = True
    others: Mapping[str, str] = {}
    example: object = None


class Answer(NamedTuple):
    """A reply that is no error; without a `kind` it has no body.

    `links` names the operations that take the `id` of the body.
    """

    description: str
    kind: object = None
    media_type: str = JSON
    headers: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


class Operation(NamedTuple):
    """One method of one path: what serves it, and what it takes and gives."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, Sequence[Answer]]
    errors: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    is_open: bool = False


HEADERS: Final[Mapping[str, str]] = {
    "Allow": "The methods that this path knows.",
    "ETag": "The saga's version; give it as If-None-Match, or with a move as If-Match.",
    "Idempotency-Replayed": "`true`: the same key and body gave this saga before.",
    "Location": "Where the saga is.",
    "Preference-Applied": "Which preferences were heeded; how long the reply waited at most.",
    "Retry-After": "Seconds after which to try again.",
    "WWW-Authenticate": "Which key is wanted.",
    "X-Request-Id": "Names this request in the server's log; a client's own is kept.",
}
_ERROR_HEADERS: Final = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
_ALWAYS_OPEN: Final = (400, 403, 405, 408, 413, 414, 421, 429, 431, 500)
_ALWAYS: Final = (*_ALWAYS_OPEN, 401, 503)
_SAGA_ID: Final = Parameter(
    "id", "path", {"type": "string", "pattern": limits.NAME_PATTERN}, "The saga's id."
)
_SERVICE: Final = Parameter(
    "name", "path", {"type": "string", "pattern": limits.NAME_PATTERN}, "The service's name."
)
_KEY: Final[Document] = {"key": []}


def openapi_document(operations: Iterable[Operation], *, is_keyed: bool = False) -> Document:
    """Describe the operations, in their order; `is_keyed` says that they want one of the server's keys."""
    operations = tuple(operations)
    kinds = list({id(kind): kind for kind in (Problem, *_kinds(operations))}.values())
    schemas, components = msgspec.json.schema_components(
        kinds, ref_template="#/components/schemas/{name}"
    )
    schema_of = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Document]] = {}
    for operation in operations:
        described = _operation(operation, schema_of)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sagakeep",
            "version": API_VERSION,
            "description": "Ignore fields of a reply that you do not know: it may gain some.",
        },
        "servers": [{"url": "/"}],
        "security": [_KEY] if is_keyed else [],
        "paths": paths,
        "components": {
            "schemas": components,
            "headers": {name: _header(text) for name, text in HEADERS.items()},
            "responses": {_name_of(status): _problem(status) for status in _errors(operations)},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _kinds(operations: Iterable[Operation]) -> Iterable[object]:
    for operation in operations:
        if operation.body is not None:
            yield operation.body.kind
        for answers in operation.answers.values():
            yield from [answer.kind for answer in answers if answer.kind is not None]


def _errors(operations: Iterable[Operation]) -> list[int]:
    return sorted({*_ALWAYS, *(status for one in operations for status in one.errors)})


def _operation(operation: Operation, schema_of: Mapping[int, Document]) -> Document:
    always = _ALWAYS_OPEN if operation.is_open else _ALWAYS
    errors = {*always, *operation.errors} - operation.answers.keys()
    replies = {
        str(status): _replies(answers, schema_of) for status, answers in operation.answers.items()
    }
    for status in sorted(errors):
        replies[str(status)] = {"$ref": f"#/components/responses/{_name_of(status)}"}
    described: Document = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "responses": replies,
    }
    named = (_SAGA_ID,) if "{id}" in operation.path else ()
    named = (_SERVICE,) if "{name}" in operation.path else named
    if parameters := [_parameter(one) for one in (*named, *operation.parameters)]:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = _body(operation.body, schema_of)
    if operation.is_open:
        described["security"] = []
    return described


def _replies(answers: Sequence[Answer], schema_of: Mapping[int, Document]) -> Document:
    headers = {name for answer in answers for name in answer.headers} | {"X-Request-Id"}
    replies: Document = {
        "description": " ".join(answer.description for answer in answers),
        "headers": _headers(headers),
    }
    content = {
        answer.media_type: {"schema": schema_of[id(answer.kind)]}
        for answer in answers
        if answer.kind is not None
    }
    if content:
        replies["content"] = content
    if links := {name: _link(name) for answer in answers for name in answer.links}:
        replies["links"] = links
    return replies


def _link(operation_id: str) -> Document:
    return {"operationId": operation_id, "parameters": {"id": "$response.body#/id"}}


def _body(body: Body, schema_of: Mapping[int, Document]) -> Document:
    json: Document = {"schema": schema_of[id(body.kind)]}
    if body.example is not None:
        json["example"] = body.example
    content: Document = {JSON: json}
    for media_type, description in body.others.items():
        content[media_type] = {"schema": {"type": "string", "description": description}}
    return {"required": body.is_required, "content": content}


def _parameter(parameter: Parameter) -> Document:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _problem(status: int) -> Document:
    reference = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": HTTPStatus(status).phrase,
        "headers": _headers({*_ERROR_HEADERS.get(status, ()), "X-Request-Id"}),
        "content": {PROBLEM_JSON: {"schema": reference}},
    }


def _name_of(status: int) -> str:
    return f"Problem{int(status)}"


def _headers(names: Iterable[str]) -> Document:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in sorted(names)}


def _header(description: str) -> Document:
    return {"description": description, "schema": {"type": "string"}}
