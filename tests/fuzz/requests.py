"""Requests to fuzz with: each is a pure function of a seed and its number, so that any can be made again.

    good     what a client sends: every route, with bodies of sagas, whole and chunked
    attack   one of `fuzz.attacks`
    noise    random bytes
    mutant   a good one or an attack, changed once to five times: bytes, lines, framing
    train    several of the above, one behind the other

What is sent is `parts`, in pieces; `ending` is what the client does when it has sent all.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from fuzz.attacks import ATTACKS
from fuzz.service import ACTIONS, SERVICES

IDS: Final = 500  # of sagas that requests are about: few enough that they meet


class Ending(Enum):
    """What the client does in the end."""

    SHUT = "says that nothing more comes, and reads to the end"
    WAIT = "waits for a reply, and closes"
    LEAVE = "closes at once"
    RESET = "resets at once"


class Sent(NamedTuple):
    """What one client sends. A good request alone must be answered well."""

    parts: list[bytes]
    ending: Ending
    is_good: bool


def make_sent(seed: int, number: int) -> Sent:
    """Make the client of this number."""
    chance = random.Random(f"{seed}/{number}")
    kind = chance.choices(("good", "attack", "noise", "mutant", "train"), (15, 10, 5, 50, 20))[0]
    data = _KINDS[kind](chance)
    if kind == "good":
        return Sent([data], Ending.SHUT, True)
    ending = chance.choices(tuple(Ending), (60, 15, 15, 10))[0]
    return Sent(_pieces(chance, data), ending, False)


def _pieces(chance: random.Random, data: bytes) -> list[bytes]:
    if chance.random() < 0.7 or len(data) < 2:
        return [data]
    cuts = sorted(chance.sample(range(1, len(data)), min(len(data) - 1, chance.randint(1, 4))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


# Good ones


def _good(chance: random.Random) -> bytes:
    saga = f"/api/sagas/f-{chance.randrange(IDS)}"
    method, target, body = chance.choice(
        [
            ("GET", "/api/sagas", None),
            ("GET", "/api/sagas?status=completed&limit=2", None),
            ("GET", "/api/sagas?tag.k=v&createdAfter=2026-01-01T00:00:00Z&limit=1", None),
            ("GET", "/api/sagas/stats", None),
            ("GET", "/api/sagas/health", None),
            ("GET", "/api/sagas/metrics", None),
            ("GET", "/openapi.json", None),
            ("HEAD", saga, None),
            ("GET", saga, None),
            ("GET", f"{saga}/status", None),
            ("GET", f"{saga}/events?limit=3", None),
            ("PUT", f"{saga}/compensate", {"reason": "fuzz"}),
            ("POST", f"{saga}/retry", {}),
            ("DELETE", f"{saga}?reason=fuzz", None),
            ("POST", "/api/sagas/bulk", {"move": "retry", "filter": {}, "plan": True}),
            ("POST", "/api/sagas/bulk", {"move": "delete", "ids": [saga.rpartition("/")[2]]}),
            ("PUT", f"/api/services/{chance.choice(SERVICES)}/retry", {"reason": "fuzz"}),
            *[("POST", "/api/sagas", _saga(chance))] * 4,
            ("POST", "/api/sagas/batch", [_saga(chance) for _ in range(chance.randint(0, 3))]),
        ]
    )
    fields = [b"Host: localhost"]
    if chance.random() < 0.1:
        fields.append(b"Accept: text/event-stream")
    if chance.random() < 0.2:
        fields.append(b"Idempotency-Key: k-%d" % chance.randrange(IDS))
    encoded = b"" if body is None else json.dumps(body).encode()
    framing, framed = _framed(chance, encoded) if body is not None else ([], b"")
    head = b"\r\n".join([f"{method} {target} HTTP/1.1".encode(), *fields, *framing, b"", b""])
    return head + framed


def _saga(chance: random.Random) -> dict[str, object]:
    steps = [
        {
            "id": f"s{at}",
            "service": chance.choice(SERVICES),
            "action": chance.choice(ACTIONS),
            "compensation": chance.choice(("release", "refund", "fail", "")),
            "payload": {"n": chance.randrange(1000)},
            "maxRetries": 0,
        }
        for at in range(chance.randint(1, 3))
    ]
    return {"id": f"f-{chance.randrange(IDS)}", "name": "fuzz", "steps": steps, "tags": {"k": "v"}}


def _framed(chance: random.Random, body: bytes) -> tuple[list[bytes], bytes]:
    """Frame a body by its length or in chunks."""
    kind = b"Content-Type: application/json"
    if chance.random() < 0.7:
        return [kind, b"Content-Length: %d" % len(body)], body
    pieces = [piece for piece in _pieces(chance, body) if piece]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return [kind, b"Transfer-Encoding: chunked"], chunks + b"0\r\n\r\n"


# Bad ones


def _attack(chance: random.Random) -> bytes:
    return chance.choice(list(ATTACKS.values()))[1].replace(b"Host: a", b"Host: localhost")


def _noise(chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((1, 10, 100, 1000, 20_000)))


def _mutant(chance: random.Random) -> bytes:
    data = (_good if chance.random() < 0.8 else _attack)(chance)
    for _ in range(chance.randint(1, 5)):
        data = chance.choice(_MUTATIONS)(chance, data)
    return data


def _train(chance: random.Random) -> bytes:
    kinds = (_good, _good, _attack, _mutant, _noise)
    return b"".join(chance.choice(kinds)(chance) for _ in range(chance.randint(2, 6)))


_KINDS: Final[dict[str, Callable[[random.Random], bytes]]] = {
    "good": _good,
    "attack": _attack,
    "noise": _noise,
    "mutant": _mutant,
    "train": _train,
}

# Mutations

_TOKENS: Final = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"%00",
        b"%",
        b"\xff",
    ),
    *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http://evil/"),
    *(b"../", b"//", b"?", b"#", b"\xc0\xaf", b"\xed\xa0\x80", b"0x10", b"-1", b"1e9", b"[" * 200),
    *(b'{"a":' * 100, b'"\\ud800"', b"NaN", b"99999999999999999999", b"x" * 5000, b"\xef\xbb\xbf"),
)
_LINES: Final = (
    *(b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 0x5"),
    *(b"Content-Length: 5, 5", b"Content-Length: 99999999999999999999", b"Content-Length: 5 5"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: xchunked", b"Transfer-Encoding: gzip"),
    *(b"Transfer-Encoding : chunked", b" Transfer-Encoding: chunked", b"TE: trailers"),
    *(b"Connection: close", b"Connection: keep-alive", b"Connection: Upgrade", b"Upgrade: h2c"),
    *(
        b"HTTP2-Settings: !",
        b"Expect: 100-continue",
        b"Expect: tea",
        b"Host: evil",
        b"Host: localhost",
    ),
    *(
        b"Host:",
        b"Content-Type: text/plain",
        b"Content-Type: application/x-ndjson",
        b"Origin: null",
    ),
    *(b"Content-Encoding: gzip", b"X-Request-Id: \xff", b"Prefer: wait=0.01", b"Prefer: wait=-1"),
    *(b"Last-Event-ID: 1", b"Last-Event-ID: x", b"If-None-Match: *", b"Accept: text/event-stream"),
    *(b"Authorization: Bearer x", b"traceparent: 00-1-1-01", b"X: " + b"y" * 17_000, b"no colon"),
    *(b": empty", b"X" * 300 + b": y", b"X:\x01", b"Cookie: a=b", b"Trailer: Host"),
)


def _flip(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _insert(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(_TOKENS) + data[at:]


def _cut(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _drop(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at + chance.randint(1, 20) :]


def _double(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    end = at + chance.randint(1, 200)
    return data[:end] + data[at:end] * chance.randint(1, 3) + data[end:]


def _add_line(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    lines.insert(chance.randint(1, min(4, len(lines))), chance.choice(_LINES))
    return b"\r\n".join(lines)


def _move_line(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    lines.insert(chance.randrange(len(lines) + 1), lines.pop(chance.randrange(len(lines))))
    return b"\r\n".join(lines)


def _end_lines_otherwise(chance: random.Random, data: bytes) -> bytes:
    end = chance.choice((b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n "))
    return data.replace(b"\r\n", end, chance.randint(1, 5))


def _change_method(chance: random.Random, data: bytes) -> bytes:
    names = (b"OPTIONS", b"TRACE", b"PATCH", b"get", b"CONNECT", b"PRI", b"G@T", b"", b"X" * 300)
    return chance.choice(names) + data[max(data.find(b" "), 0) :]


def _change_digit(chance: random.Random, data: bytes) -> bytes:
    """Change a number: a length, a size of a chunk, a version, a port."""
    places = [at for at, byte in enumerate(data) if byte in b"0123456789"]
    if not places:
        return data
    at = chance.choice(places)
    return data[:at] + chance.choice((b"0", b"9", b"f", b"00", b"-1", b"_1")) + data[at + 1 :]


_MUTATIONS: Final[tuple[Callable[[random.Random, bytes], bytes], ...]] = (
    *(_flip, _insert, _cut, _drop, _double, _add_line, _add_line, _move_line),
    *(_end_lines_otherwise, _change_method, _change_digit, _change_digit),
)
