from __future__ import annotations

import hashlib
import json

import pytest
from http_client import Reply, open_server
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from sagakeep.errors import ConfigurationError
from sagakeep.http.auth import ApiKey, Role, allows, authenticate, new_key
from sagakeep.http.edge import edge

VIEWER, VIEWER_SHA256 = new_key(Role.VIEWER)
OPERATOR, OPERATOR_SHA256 = new_key(Role.OPERATOR)
ADMIN, ADMIN_SHA256 = new_key(Role.ADMIN)
KEYS = [
    ApiKey("dashboard", VIEWER_SHA256, Role.VIEWER),
    ApiKey("shop", OPERATOR_SHA256, Role.OPERATOR),
    ApiKey("root", ADMIN_SHA256, Role.ADMIN),
]


async def who(scope: Scope, receive: Receive, send: Send) -> None:
    principal = scope["state"].get("principal")
    named = {"name": principal.name, "role": principal.role} if principal else {}
    await JSONResponse(named)(scope, receive, send)


async def ask(method: str, path: str, *fields: str, keys: list[ApiKey] = KEYS) -> Reply:
    data = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()
    async with open_server(edge(who, keys=keys)) as server, server.open_client() as client:
        return await client.ask(data)


def bearer(key: str) -> str:
    return f"Authorization: Bearer {key}"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("key", [VIEWER, OPERATOR, ADMIN], ids=["viewer", "operator", "admin"])
async def test_a_viewer_reads_and_the_others_also_change(method: str, key: str):
    reply = await ask(method, "/api/sagas", bearer(key))
    refused = key == VIEWER and method != "GET"
    assert reply.status == (403 if refused else 200)
    if refused:
        assert (
            json.loads(reply.body)["detail"]
            == "key 'dashboard' is of a viewer; this wants operator"
        )


async def test_the_application_is_told_who_it_is():
    reply = await ask("POST", "/api/sagas", bearer(OPERATOR))
    assert json.loads(reply.body) == {"name": "shop", "role": "operator"}


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Authorization: Bearer",),
        ("Authorization: Bearer sgk_wrong",),
        (f"Authorization: Basic {ADMIN}",),
        (f"Authorization: {ADMIN}",),
        (bearer(ADMIN[:-1]),),
        (bearer(ADMIN + "x"),),
        (bearer(ADMIN.upper()),),
        (bearer(ADMIN_SHA256),),
        (bearer(ADMIN), bearer(ADMIN)),
    ],
)
async def test_without_a_key_that_is_known_nothing_is_shown(fields: tuple[str, ...]):
    reply = await ask("GET", "/api/sagas", *fields)
    assert reply.status == 401
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["www-authenticate"].startswith('Bearer realm="sagakeep"')
    assert ("invalid_token" in reply.headers["www-authenticate"]) == bool(fields)


async def test_the_scheme_is_read_in_any_case():
    assert (await ask("GET", "/", f"authorization: bEARER   {ADMIN}")).status == 200


async def test_health_is_open_to_all_and_only_to_read():
    assert (await ask("GET", "/api/sagas/health")).status == 200
    assert (await ask("POST", "/api/sagas/health")).status == 401
    assert (await ask("GET", "/api/sagas/health/x")).status == 401


async def test_a_viewer_may_check_a_definition_for_nothing_is_written():
    assert (await ask("POST", "/api/check", f"authorization: bearer {VIEWER}")).status == 200
    assert (await ask("POST", "/api/check/x", f"authorization: bearer {VIEWER}")).status == 403
    assert (await ask("POST", "/api/check")).status == 401


async def test_without_keys_everybody_may_do_everything():
    reply = await ask("DELETE", "/api/sagas/s-1", keys=[])
    assert json.loads(reply.body) == {"name": "local", "role": "admin"}


def test_a_new_key_is_known_by_its_hash_alone():
    text, sha256 = new_key(Role.OPERATOR)
    assert text.startswith("sgk_operator_")
    assert hashlib.sha256(text.encode()).hexdigest() == sha256
    assert new_key(Role.OPERATOR)[0] != text


@pytest.mark.parametrize("sha256", ["", "x" * 64, "a" * 63, "A" * 64])
def test_a_hash_that_no_key_can_have_is_refused(sha256: str):
    with pytest.raises(ConfigurationError, match="'root'"):
        authenticate(who, [ApiKey("root", sha256, Role.ADMIN)])


def test_each_role_may_do_what_those_before_it_may():
    roles = list(Role)
    allowed = {(one, other) for one in roles for other in roles if allows(one, other)}
    assert allowed == {(roles[i], roles[j]) for i in range(3) for j in range(i + 1)}
