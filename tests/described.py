"""Holds replies to what the OpenAPI document says of them."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import msgspec
from asgi_client import Reply
from jsonschema import Draft202012Validator

from sagakeep.http.routes import ROUTES
from sagakeep.http.schema import openapi_document

DOCUMENT: Any = json.loads(msgspec.json.encode(openapi_document(ROUTES)))


def check_reply(method: str, target: str, reply: Reply) -> None:
    """Fail when the document does not declare this reply; what is at no path is not declared."""
    operation = _operation(method, target.partition("?")[0])
    if operation is None:
        assert reply.status in (404, 405)
        return
    declared = operation["responses"][str(reply.status)]
    if "$ref" in declared:
        declared = DOCUMENT["components"]["responses"][declared["$ref"].rpartition("/")[2]]
    assert "content" in declared or not reply.body
    if reply.body and method != "HEAD":
        media_type = reply.headers["content-type"].partition(";")[0]
        schema = declared["content"][media_type]["schema"]
        if media_type.endswith("ndjson"):
            for line in reply.body.splitlines():
                _validator(json.dumps(schema)).validate(json.loads(line))
        elif media_type.endswith("json"):
            _validator(json.dumps(schema)).validate(reply.json)


def _operation(method: str, path: str) -> Any:
    for template, methods in DOCUMENT["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
            return methods.get("get" if method == "HEAD" else method.lower())
    return None


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({**json.loads(schema), "components": DOCUMENT["components"]})
