from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
import pytest
from described import DOCUMENT
from openapi_spec_validator import OpenAPIV31SpecValidator
from shop import saga, step

from sagakeep.http.routes import ROUTES
from sagakeep.http.schema import openapi_document
from sagakeep.validation import parse_definition


def operations() -> Iterator[tuple[str, Any]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_document_is_openapi() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_reference_leads_somewhere() -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from [value["$ref"]] if "$ref" in value else []
            value = list(value.values())
        if isinstance(value, list):
            for one in value:
                yield from references(one)

    for reference in references(DOCUMENT):
        target = DOCUMENT
        for key in reference.removeprefix("#/").split("/"):
            target = target[key]


def test_no_operation_id_is_used_twice() -> None:
    ids = [operation["operationId"] for _, operation in operations()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(("name", "operation"), list(operations()))
def test_every_error_is_a_problem_and_every_reply_has_its_request_id(
    name: str, operation: Any
) -> None:
    for status, reply in operation["responses"].items():
        if "$ref" in reply:
            reply = DOCUMENT["components"]["responses"][reply["$ref"].rpartition("/")[2]]
            assert int(status) >= 400
            assert list(reply["content"]) == ["application/problem+json"]
        assert "X-Request-Id" in reply["headers"]
    assert {"400", "405", "421", "503"} <= set(operation["responses"])
    assert ("401" in operation["responses"]) == ("health" not in name)


def test_an_operation_with_an_id_may_not_find_it() -> None:
    for name, operation in operations():
        assert ("404" in operation["responses"]) == ("{" in name)


def test_a_body_may_be_wrong_in_every_way() -> None:
    for name, operation in operations():
        if "requestBody" in operation:
            meaning = set() if name == "POST /api/check" else {"422"}  # which tells it with 200
            assert {"400", "413", "415"} | meaning <= set(operation["responses"])


def test_keys_are_asked_for_where_the_server_has_some() -> None:
    keyed = json.loads(msgspec.json.encode(openapi_document(ROUTES, is_keyed=True)))
    assert (keyed["security"], DOCUMENT["security"]) == ([{"key": []}], [])
    assert [path for path, one in keyed["paths"].items() if "security" in one.get("get", {})] == [
        "/api/sagas/health"
    ]


def test_the_examples_are_definitions_that_are_taken() -> None:
    bodies = [one["requestBody"] for _, one in operations() if "requestBody" in one]
    examples = [one["content"]["application/json"].get("example") for one in bodies]
    order, checked, batch = sorted(
        (one for one in examples if one and "move" not in one), key=lambda one: type(one) is list
    )
    for example in (order, checked, *batch):
        parse_definition(example, {"inventory", "payment"})


def test_a_created_saga_links_to_all_that_can_be_done_with_it() -> None:
    about = {one["operationId"] for name, one in operations() if "{id}" in name}
    for status in ("200", "201"):
        links = DOCUMENT["paths"]["/api/sagas"]["post"]["responses"][status]["links"]
        assert {link["operationId"] for link in links.values()} == about


def test_the_definition_is_published_with_its_bounds() -> None:
    schema = {"$ref": "#/components/schemas/SagaDefinition", **DOCUMENT}
    jsonschema.validate(saga(tags={"k": "v"}), schema)
    jsonschema.validate(saga(step("a", sensitive=["/a~1b/0", ""]), id="statistics"), schema)
    for wrong in (
        saga(colour="red"),
        saga(step("a", timeout=0)),
        saga(step("a", maxRetries=101)),
        saga(step("-")),
        saga(step("a", sensitive=["card"])),
        saga(step("a", sensitive=["/~2"])),
        saga(id=""),
        saga(id="stats"),
        {"name": "order", "steps": []},
        saga(id=""),
        saga(id="stats"),
        saga(step("a", sensitive=["card"])),
        saga(step("a", sensitive=["/card~2"])),
        saga(step("a"), step("b", dependsOn=["a", "a"])),
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
