"""Secrets that are nowhere but where the documentation says: every file, line and reply is searched for them."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from leaky_service import leaky_url

from sagakeep.http.auth import Role, new_key

CARD = "4929-canary-card-number"
QUOTED = 'pin"with\\quotes é canary'
CVV = 73198426
TOKEN = "canary-token-of-the-configuration"
OPERATOR, OPERATOR_SHA256 = new_key(Role.OPERATOR)
VIEWER, VIEWER_SHA256 = new_key(Role.VIEWER)
WRONG = "sgk_operator_canary-of-somebody-else"
SECRETS = [
    *(CARD, json.dumps(QUOTED)[1:-1], json.dumps(QUOTED, ensure_ascii=False)[1:-1], QUOTED),
    *(repr(QUOTED)[1:-1], str(CVV), TOKEN, OPERATOR, OPERATOR_SHA256, VIEWER, VIEWER_SHA256, WRONG),
]
IN_CLEAR = {
    "wal",
    "snap",
    "quarantine",
}  # of the data directory: what docs/guide.md says of `sensitive`
DEADLINE_S = 60
PAYLOAD = {"card": {"number": CARD, "codes": [QUOTED, CVV]}, "amount": 5}
SENSITIVE = ["/card/number", "/card/codes"]


def step(step_id: str, action: str, **more: object) -> dict[str, object]:
    return {
        "id": step_id,
        "service": "web",
        "action": action,
        "compensation": "take",
        "payload": PAYLOAD,
        "compensationPayload": PAYLOAD,
        "sensitive": SENSITIVE,
        "maxRetries": 0,
        "compensationMaxRetries": 0,
        **more,
    }


def saga(name: str, *steps: dict[str, object], **more: object) -> dict[str, object]:
    return {"id": name, "name": "canary", "steps": list(steps), **more}


SAGAS = [
    saga("done", step("a", "take"), step("b", "take", service="here")),
    *[
        saga(f"web-{action}", step("a", "take"), step("b", action))
        for action in ("refuse", "stutter", "crash", "redirect", "babble")
    ],
    *[
        saga(f"here-{action}", step("a", "take"), step("b", action, service="here"))
        for action in ("refuse", "crash")
    ],
    saga("undo-fails", step("a", "take", compensation="crash"), step("b", "refuse")),
    saga(
        "undo-crashes", step("a", "take", service="here", compensation="crash"), step("b", "refuse")
    ),
    saga("waits", step("a", "later", service="here", maxRetries=9)),
    saga("held", step("a", "take"), step("b", "refuse"), onFailure="hold"),
    saga(
        "does-not-fit",
        step("a", "take"),
        step("b", "take", payload={"x": {"$from": "abs(steps.a.result.card.number)"}}),
    ),
]
REFUSED = [
    saga("bad id!", step("a", "take")),
    saga("unknown", step("a", "take", service="nowhere")),
    saga("far", step("a", "take", payload={**PAYLOAD, "n": 1 << 70})),
    saga("from", step("a", "take", payload={**PAYLOAD, "x": {"$from": "steps.z.result"}})),
    saga("twice", step("a", "take"), step("a", "take")),
]


class Keep:
    """A server process, and everything that was said to the outside."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.config = directory / "sagakeep.toml"
        self.config.write_text(
            f"""bind = "127.0.0.1:0"
data = "{self.data}"
grace = 1
[log]
level = "debug"
[services.web]
url = "{url}"
headers = {{ Authorization = "Bearer {TOKEN}" }}
[services.here]
python = "leaky_service:leaky"
[[auth.keys]]
name = "op"
sha256 = "{OPERATOR_SHA256}"
role = "operator"
[[auth.keys]]
name = "view"
sha256 = "{VIEWER_SHA256}"
role = "viewer"
"""
        )
        self.log = directory / "log"
        self.said: list[str] = []
        self.port = 0

    def start(self) -> None:
        command = [sys.executable, "-m", "sagakeep", "serve", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, cwd=Path(__file__).parent
            )
        assert self.process.stdout
        assert select.select([self.process.stdout], [], [], DEADLINE_S)[0]
        line = self.process.stdout.readline().decode()
        self.said.append(line)
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, self.log.read_text()
        self.port = int(found[1])

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=DEADLINE_S)
        self.said.append(said.decode())

    def call(
        self, method: str, path: str, body: bytes = b"", key: str = OPERATOR, **headers: str
    ) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            fields = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            connection.request(method, path, body or None, {**fields, **headers})
            reply = connection.getresponse()
            self.said += [f"{method} {path} {reply.status}", str(reply.headers)]
            self.said.append(reply.read().decode())
            return reply.status
        finally:
            connection.close()

    def run(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "sagakeep", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE_S, cwd=Path(__file__).parent
        )
        self.said += [f"$ {arguments}", done.stdout, done.stderr]


@pytest.fixture(scope="module")
def keep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keep]:
    """A server that was asked everything, ended, killed and started again."""
    with leaky_url() as url:
        keep = Keep(tmp_path_factory.mktemp("canary"), url)
        keep.start()
        try:
            ask_all(keep)
            keep.end()
            for arguments in (
                ("events", str(keep.data)),
                ("events", str(keep.data), "done"),
                ("verify", str(keep.data)),
                ("config", "show", "--config", str(keep.config)),
            ):
                keep.run(*arguments)
            keep.start()
            keep.call("GET", "/api/sagas")
            keep.end(signal.SIGKILL)
            keep.start()
            keep.call("GET", "/api/sagas/waits")
        finally:
            keep.end()
        yield keep


def ask_all(keep: Keep) -> None:
    for document in SAGAS:
        wait = "wait=0.1" if document["id"] == "waits" else "wait=20"
        body = json.dumps(document).encode()
        assert keep.call("POST", "/api/sagas", body, Prefer=wait) == 201, keep.said[-1]
    for document in REFUSED:
        assert keep.call("POST", "/api/sagas", json.dumps(document).encode()) == 422
    keep.call("POST", "/api/sagas/batch", json.dumps(REFUSED).encode())
    keep.call("POST", "/api/sagas", json.dumps(SAGAS[0]).encode())
    keep.call("POST", "/api/sagas", json.dumps(SAGAS[0]).encode()[:-9])
    keep.call("POST", "/api/sagas", json.dumps(SAGAS[0]).replace("{", '{"a":1,"a":2,', 1).encode())
    for document in SAGAS:
        path = f"/api/sagas/{document['id']}"
        for below in ("", "/status", "/events?limit=500"):
            assert keep.call("GET", path + below) == 200
        if document["id"] in ("done", "web-refuse", "here-crash"):  # final: the stream ends
            keep.call("GET", f"{path}/events", Accept="text/event-stream")
    keep.call("POST", "/api/sagas/undo-fails/retry", b"{}")
    keep.call("POST", "/api/sagas/held/retry", b"{}")
    keep.call("PUT", "/api/sagas/done/compensate", b'{"reason":"canary"}')
    keep.call("DELETE", "/api/sagas/web-crash")
    for path in ("", "?status=failed", "/stats", "/health", "/metrics", "/nothing"):
        keep.call("GET", f"/api/sagas{path}")
    keep.call("GET", "/openapi.json")
    assert keep.call("GET", "/api/sagas", key=WRONG) == 401
    assert keep.call("DELETE", "/api/sagas/held", key=VIEWER) == 403


def test_no_reply_and_no_command_says_a_secret(keep: Keep) -> None:
    assert len(keep.said) > 200
    for said in keep.said:
        for secret in SECRETS:
            assert secret not in said


def test_no_line_of_the_log_has_a_secret(keep: Keep) -> None:
    lines = keep.log.read_text().splitlines()
    assert any('"error"' in line for line in lines), "the crash of a service is logged"
    for line in lines:
        record = json.loads(line)
        for secret in SECRETS:
            assert secret not in line
            assert secret not in record["message"]
            assert secret not in record.get("trace", "")


def test_of_the_files_only_those_of_the_journal_have_what_is_sensitive(keep: Keep) -> None:
    holding = set()
    for folder, _, names in os.walk(keep.data):
        for name in names:
            path = Path(folder) / name
            data = path.read_bytes()
            for secret in (OPERATOR, VIEWER, WRONG, TOKEN, OPERATOR_SHA256):
                assert secret.encode() not in data, path
            if CARD.encode() in data:
                holding.add(path.relative_to(keep.data).parts[0])
    assert "wal" in holding, "or this test would not find a secret where there is one"
    assert holding <= IN_CLEAR


def test_an_error_keeps_the_words_that_are_not_secret(keep: Keep) -> None:
    errors = [text for text in keep.said if '"web-refuse"' in text and "step_failed" in text]
    assert any("HTTP 422: [redacted]: no" in text for text in errors)
    assert any("ValueError: bad card" in text for text in keep.said)


def test_what_the_data_directory_holds_is_for_its_owner_alone(keep: Keep) -> None:
    for folder, folders, names in os.walk(keep.data):
        for name in (*folders, *names, "."):
            mode = (Path(folder) / name).stat().st_mode & 0o777
            assert mode & 0o077 == 0, f"{folder}/{name} {mode:o}"
