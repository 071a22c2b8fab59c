"""The promise itself: kill -9 while a thousand sagas run, and nothing is lost, and nothing is done twice.

The orchestrator and two services are processes of their own. What is true is what the services' ledgers say.
"""

# mypy: allow-untyped-calls
# (the process helper of test_serve has no types)

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import select
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blackbox.deeds import NOTHING, Deed, read_deeds
from blackbox.http_service import gate_of
from blackbox.processes import ServiceProcess
from test_serve import DEADLINE_S, Server

from sagakeep.state import MOVING

SAGAS = 1_000
KILLS_AT = (400, 1_300, 2_300)  # entries of the ledgers: of about 3,600 in all
SERVICES = ("stock", "bank")
STEPS = (("reserve", "stock"), ("charge", "bank"), ("ship", "stock"))


class System:
    """The orchestrator, which may be killed, and the services, which live on."""

    def __init__(self, directory: Path, services: dict[str, ServiceProcess]) -> None:
        self.data = directory / "data"
        self.ledgers = [service.ledger for service in services.values()]
        self._config = directory / "sagakeep.toml"
        tables = [f'[services.{name}]\nurl = "{one.url}"\n' for name, one in services.items()]
        self._config.write_text("[limits]\nrecoveredCallsPerS = 5000\n" + "".join(tables))
        self.server = self._start()

    def _start(self) -> Server:
        server = Server(self.data, "--config", str(self._config))
        self.recovered = server.ready()
        return server

    def kill(self) -> None:
        """Kill the orchestrator with what it has in hand, and start it again."""
        assert self.server.end(signal.SIGKILL) == -signal.SIGKILL
        self.server.close()
        self.server = self._start()

    def entries(self) -> list[Deed]:
        return read_deeds(self.ledgers)

    def wait_entries(self, count: int) -> None:
        wait_until(lambda: len(self.entries()) >= count)

    def open_gates(self) -> None:
        """Let the held calls go: until then each kill finds sagas in flight, however quick the machine is."""
        for ledger in self.ledgers:
            gate_of(ledger).touch()

    def statuses(self) -> dict[str, str]:
        """Every saga's status, read page by page."""
        found: dict[str, str] = {}
        cursor = ""
        while True:
            status, page = self.server.call("GET", f"/api/sagas?limit=500{cursor}")
            assert status == 200, page
            found |= {saga["id"]: saga["status"] for saga in page["sagas"]}
            if not page["nextCursor"]:
                return found
            cursor = f"&cursor={page['nextCursor']}"

    def running(self) -> int:
        counts = self.server.call("GET", "/api/sagas/stats")[1]["byStatus"]
        return sum(counts[status] for status in MOVING)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with contextlib.ExitStack() as stack:
        services = {name: ServiceProcess(tmp_path / f"{name}.ledger") for name in SERVICES}
        for service in services.values():
            stack.callback(service.close)
        system = System(tmp_path, services)
        stack.callback(lambda: system.server.close())
        yield system


class Client(threading.Thread):
    """Posts one saga after another, as a client does: it repeats what it was not told the end of."""

    def __init__(self, system: System) -> None:
        super().__init__(daemon=True)
        self._system = system
        self._enough = threading.Event()
        self.acknowledged: list[str] = []
        self.refusals: list[object] = []
        self.slowest_s = 0.0

    def __enter__(self) -> Client:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self.join(DEADLINE_S)

    def run(self) -> None:
        while not self._enough.wait(0.005):
            saga_id = f"single-{len(self.acknowledged)}"
            key = {"Idempotency-Key": f"key-of-{saga_id}"}
            begun_s = time.monotonic()
            try:
                status, reply = self._system.server.call("POST", "/api/sagas", saga(saga_id), **key)
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                continue  # the server is being killed: the end of this post is not known
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun_s)
            if status in (200, 201):
                self.acknowledged.append(saga_id)
            elif status != 503:
                self.refusals.append(reply)


def saga(saga_id: str, undo: str = "done", **then: str) -> dict[str, object]:
    """Three steps; `then` says what the actions of the steps come to, `undo` what every undo does."""
    steps = [
        {
            "id": step_id,
            "service": service,
            "action": step_id,
            "compensation": f"undo-{step_id}",
            "payload": {"then": then.get(step_id, "done")},
            "compensationPayload": {"then": undo},
            "maxRetries": 2 if then.get(step_id) == "vanished" else 20,
            "timeout": DEADLINE_S,
            "retry": {"initialInterval": 0.02, "maxInterval": 0.1},
        }
        for step_id, service in STEPS
    ]
    return {"id": saga_id, "name": "order", "steps": steps}


def saga_number(at: int) -> dict[str, object]:
    saga_id = f"batch-{at}"
    match at % 10:
        case 9:
            return saga(saga_id, charge="refused", undo="flaky" if at % 20 == 9 else "lost")
        case 3:
            return saga(saga_id, reserve="flaky")
        case 5:
            return saga(saga_id, charge="lost")
        case 1 if at % 50 == 1:
            return saga(saga_id, ship="held")
        case 7 if at % 50 == 7:
            return saga(saga_id, ship="vanished")
        case _:
            return saga(saga_id)


def expected_status(at: int) -> str:
    return "compensated" if at % 10 == 9 or at % 50 == 7 else "completed"


def wait_until(holds: Callable[[], bool]) -> None:
    until_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < until_s
        select.select([], [], [], 0.01)


def test_a_thousand_sagas_survive_three_kills(system: System) -> None:
    batch = [saga_number(at) for at in range(SAGAS)]
    status, reply = system.server.call("POST", "/api/sagas/batch", batch)
    assert status == 200
    assert [result["status"] for result in reply["results"]] == [201] * SAGAS
    with Client(system) as client:
        for count in KILLS_AT:
            system.wait_entries(count)
            system.kill()
            assert system.recovered >= SAGAS // 50, "the held sagas are live at every kill"
        before = len(client.acknowledged)
        wait_until(lambda: len(client.acknowledged) > before)
    system.open_gates()
    wait_until(lambda: system.running() == 0)

    assert client.refusals == []
    assert_each_saga_ended(system.statuses(), client.acknowledged)
    assert_ledgers_agree(system.statuses(), system.entries())
    assert system.server.end() == 0
    assert "Traceback" not in system.server.text()
    assert_journal_is_good(system.data)


def assert_each_saga_ended(statuses: dict[str, str], singles: list[str]) -> None:
    expected = {f"batch-{at}": expected_status(at) for at in range(SAGAS)}
    expected |= dict.fromkeys(singles, "completed")
    assert {saga_id: statuses.get(saga_id) for saga_id in expected} == expected
    assert len(statuses) - len(expected) <= 1, "only the last post may have ended untold"


def assert_ledgers_agree(statuses: dict[str, str], entries: list[Deed]) -> None:
    assert_no_call_has_two_keys(entries)
    calls = calls_by_saga(entries)
    assert calls.keys() == statuses.keys()
    for saga_id, saga_status in statuses.items():
        assert_ledger_agrees(saga_status, calls[saga_id])


def assert_no_call_has_two_keys(entries: list[Deed]) -> None:
    keys: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for entry in entries:
        keys[entry.saga, entry.step, entry.phase].add(entry.key)
    assert {call: found for call, found in keys.items() if len(found) > 1} == {}


def calls_by_saga(entries: list[Deed]) -> dict[str, list[Deed]]:
    calls: dict[str, list[Deed]] = defaultdict(list)
    for entry in entries:
        calls[entry.saga].append(entry)
    return calls


def assert_ledger_agrees(status: str, calls: list[Deed]) -> None:
    """Hold one saga's status against what its services saw, in the order of time."""
    actions = [call for call in calls if call.phase == "action"]
    undos = [call for call in calls if call.phase == "compensation"]
    if status == "completed":
        assert not undos
        assert {call.step for call in actions if call.is_sure} == {step for step, _ in STEPS}
        return
    assert status == "compensated", calls
    assert not undos or max(call.at_ns for call in actions) < undos[0].at_ns, calls
    for step in {call.step for call in actions if call.outcome not in NOTHING}:
        assert any(undo.step == step and undo.is_sure for undo in undos), calls
    deeds = list(dict.fromkeys(call.step for call in actions))
    undone = list(dict.fromkeys(call.step for call in undos))
    assert undone == [step for step in reversed(deeds) if step in undone], calls
    for later, earlier in itertools.pairwise(undone):
        ended_ns = max(call.at_ns for call in undos if call.step == later)
        assert ended_ns < min(call.at_ns for call in undos if call.step == earlier), calls


def assert_journal_is_good(data: Path) -> None:
    command = [sys.executable, "-m", "sagakeep", "verify", str(data)]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "all good" in verified.stdout, verified.stderr
