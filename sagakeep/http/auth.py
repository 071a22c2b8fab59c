"""Who may do what: API keys, three roles, and the role that a method wants.

A key is 32 random bytes behind `sgk_`, so its SHA-256 needs no salt; only that is configured. All
keys are compared, each in constant time, so that the time says nothing about any of them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from sagakeep.errors import ConfigurationError
from sagakeep.http.problems import problem

OPEN_PATHS: Final = frozenset({"/api/sagas/health", "/"})
DASHBOARD: Final = "/ui"  # its files are no secret; what they show is asked for with a key
READ_PATHS: Final = frozenset({"/api/check"})  # whatever the method: nothing is written there
_READS: Final = frozenset({"GET", "HEAD"})
_BEARER: Final = re.compile(rb"bearer +([\x21-\x7e]+)", re.IGNORECASE)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Role(StrEnum):
    """What a key may do; each may do what those before it may."""

    VIEWER = "viewer"  # reads
    OPERATOR = "operator"  # also creates, compensates, retries, deletes
    ADMIN = "admin"  # also changes services and keys


_RANKS: Final = {role: rank for rank, role in enumerate(Role)}


class ApiKey(msgspec.Struct, frozen=True):
    """One entry of the configuration; `sha256` is of the whole key, in hexadecimal."""

    name: str
    sha256: str
    role: Role


class Principal(msgspec.Struct, frozen=True):
    """Who makes a request, as `scope["state"]["principal"]` tells and events record."""

    name: str
    role: Role


LOCAL: Final = Principal("local", Role.ADMIN)  # whoever reaches a server that has no keys


def new_key(role: Role) -> tuple[str, str]:
    """Make a key: its text, to be shown once, and its SHA-256, to be configured."""
    text = f"sgk_{role}_{secrets.token_urlsafe(32)}"
    return text, hashlib.sha256(text.encode()).hexdigest()


def authenticate(app: ASGIApp, keys: Sequence[ApiKey]) -> ASGIApp:
    """Wrap an application: 401 without a key, 403 beyond its role. Without keys all is allowed.

    Raises ConfigurationError for an entry that no key can match.
    """
    for key in keys:
        if not _SHA256.fullmatch(key.sha256):
            raise ConfigurationError(f"auth key {key.name!r}: sha256 must be 64 hexadecimal digits")

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        is_read = scope["method"] in _READS or scope["path"] in READ_PATHS
        wanted = Role.VIEWER if is_read else Role.OPERATOR
        principal = _principal_of(scope, keys) if keys else LOCAL
        if principal is not None:
            scope.setdefault("state", {})["principal"] = principal
        if _is_open(scope["path"]) and scope["method"] in _READS:
            await app(scope, receive, send)
        elif principal is None:
            await _unauthorized(scope)(scope, receive, send)
        elif not allows(principal.role, wanted):
            await _forbidden(principal, wanted, scope["path"])(scope, receive, send)
        else:
            await app(scope, receive, send)

    return wrapped


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path == DASHBOARD or path.startswith(f"{DASHBOARD}/")


def allows(role: Role, wanted: Role) -> bool:
    """Tell whether a role may do what another is wanted for."""
    return _RANKS[role] >= _RANKS[wanted]


def _principal_of(scope: Scope, keys: Sequence[ApiKey]) -> Principal | None:
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    match = _BEARER.fullmatch(given[0].strip()) if len(given) == 1 else None
    if match is None:
        return None
    digest = hashlib.sha256(match[1]).hexdigest()
    found = [key for key in keys if hmac.compare_digest(key.sha256, digest)]
    return Principal(found[0].name, found[0].role) if found else None


def _unauthorized(scope: Scope) -> ASGIApp:
    has_tried = any(name == b"authorization" for name, _ in scope["headers"])
    challenge = 'Bearer realm="sagakeep"' + (', error="invalid_token"' if has_tried else "")
    detail = "send Authorization: Bearer with a key that is configured here"
    headers = {"WWW-Authenticate": challenge}
    return problem(401, "Unauthorized", detail, instance=scope["path"], headers=headers)


def _forbidden(principal: Principal, wanted: Role, instance: str) -> ASGIApp:
    detail = f"key {principal.name!r} is of a {principal.role}; this wants {wanted}"
    headers = {"WWW-Authenticate": 'Bearer realm="sagakeep", error="insufficient_scope"'}
    return problem(403, "Forbidden", detail, instance=instance, headers=headers)
