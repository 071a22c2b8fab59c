"""Set the server's wall clock: libfaketime moves it by a day or a year, back and forth, while sagas wait.

Each round begins sagas whose timers are known: one that times out after `TIMEOUT_S`, one that tries again
after as long, one with an hour to go. Then the clock jumps, while the server runs, or while it is down. While
it runs a jump may not move any timer. Across a restart a clock that was set back may not hold a timer for
longer than it had left, and one that was set forward may fire it: nobody can tell that from a day that
passed.
"""

from __future__ import annotations

import glob
import os
import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from blackbox.campaign import Bounds
from blackbox.forks import make_place
from blackbox.http_service import LATER_S, gate_of
from blackbox.kills import complain
from blackbox.processes import Broken, ServerProcess, System, running, verify, wait_until

LIBRARIES = "/usr/lib/*/faketime/libfaketimeMT.so.1"
DAY_S, YEAR_S = 86_400, 31_536_000
JUMPS_S = (DAY_S, -DAY_S, YEAR_S, -YEAR_S)
TIMEOUT_S = float(LATER_S)
SLACK_S = 20.0  # a machine with much to do is late; a timer that a jump moved is late by a day
EARLY_S = 0.05


class Jump(NamedTuple):
    """By how much, and whether the server is down meanwhile."""

    seconds: int
    restart: bool


def library() -> str:
    """The path of libfaketime, "" when it is not installed."""
    return next(iter(glob.glob(LIBRARIES)), "")


def run(bounds: Bounds) -> None:
    """Make `bounds.count` jumps."""
    if not library():
        bounds.findings.skipped = "libfaketime is not installed"
        return
    draw = random.Random(bounds.seed)
    jumps = [Jump(seconds, restart) for seconds in JUMPS_S for restart in (False, True)]
    draw.shuffle(jumps)
    place = make_place(bounds.root / f"clock-{bounds.seed}")
    with running(place) as system:
        clock = FakeClock(place.root / "clock")
        system.start(environ=clock.environ).wait_ready()
        try:
            while not bounds.is_over:
                count = bounds.findings.count
                jump = jumps[count % len(jumps)]
                _round(bounds, system, clock, jump, f"c{bounds.seed}-{count}")
                bounds.done()
        except Broken as error:
            bounds.findings.blame(place.root.name, [str(error)])
        assert system.server is not None, "it was started"
        system.server.end()
    bounds.findings.blame(place.root.name, verify(place.data))
    complain(bounds, place)


class FakeClock:
    """The wall clock of one process, as libfaketime reads it from a file at every look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset_s = 0
        self.jump(0)

    @property
    def environ(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: int) -> None:
        self._offset_s += seconds
        staged = self._path.with_suffix(".new")
        staged.write_text(f"{self._offset_s:+d}\n")
        os.replace(staged, self._path)


class Begun(NamedTuple):
    """The sagas of a round, and when they began, on our own clock."""

    timed: str
    retried: str
    patient: str
    at_s: float


def _round(bounds: Bounds, system: System, clock: FakeClock, jump: Jump, name: str) -> None:
    server = system.server
    assert server is not None, "it was started"
    gate = gate_of(system.place.ledger("stock"))
    gate.unlink(missing_ok=True)
    begun = _begin(server, name)
    if jump.restart:
        server.end(signal.SIGKILL)
        clock.jump(jump.seconds)
        server = system.start(environ=clock.environ)
        server.wait_ready()
    else:
        clock.jump(jump.seconds)
    is_forward = jump.restart and jump.seconds > 0
    faults = _watch(server, begun, jump)
    gate.touch()
    statuses = {"completed", "compensated"} if is_forward else {"completed"}
    if not wait_until(lambda: _status(server, begun.patient) in statuses):
        faults.append(f"{begun.patient} is {_status(server, begun.patient)} with an hour to go")
    bounds.findings.blame(f"{name} {jump}", faults)


def _watch(server: ServerProcess, begun: Begun, jump: Jump) -> list[str]:
    """When the timers fire: neither early, nor late, counted from when the server could tell."""
    faults = []
    may_fire = jump.restart and jump.seconds > 0
    due_s, now_s = begun.at_s + TIMEOUT_S, time.monotonic()
    is_back = jump.restart and jump.seconds < 0  # then it goes on where its last event was
    latest_s = max(due_s, now_s + TIMEOUT_S if is_back else now_s) + SLACK_S
    for saga_id, status in ((begun.retried, "completed"), (begun.timed, "compensating")):
        fired_s = _wait_status(server, saga_id, status)
        if fired_s < due_s - EARLY_S and not may_fire:
            faults.append(f"{saga_id} is {status} {due_s - fired_s:.2f} s early")
        if fired_s > latest_s:
            faults.append(f"{saga_id} is {status} {fired_s - due_s:.2f} s late")
    if not may_fire and (status := _status(server, begun.patient)) != "running":
        faults.append(f"{begun.patient} is {status} with an hour to go")
    return faults


def _begin(server: ServerProcess, name: str) -> Begun:
    at_s = time.monotonic()
    timed = _post(server, f"{name}-timed", TIMEOUT_S, then="held")
    retried = _post(server, f"{name}-retried", 3600, then="later")
    patient = _post(server, f"{name}-patient", 3600, then="held")
    return Begun(timed, retried, patient, at_s)


def _post(server: ServerProcess, saga_id: str, timeout_s: float, then: str) -> str:
    step = {
        "id": "a",
        "service": "stock",
        "action": "do",
        "compensation": "undo",
        "payload": {"then": then},
        "compensationPayload": {"then": "done"},
        "timeout": 3600,
        "retry": {"initialInterval": 0.01, "maxInterval": 0.01},
    }
    document = {"id": saga_id, "name": "clock", "steps": [step], "timeout": timeout_s}
    status, _, body = server.call("POST", "/api/sagas", document)
    if status != 201:
        raise Broken(f"{saga_id}: {status} {body}")
    return saga_id


def _status(server: ServerProcess, saga_id: str) -> str:
    _, _, saga = server.call("GET", f"/api/sagas/{saga_id}")
    assert isinstance(saga, dict), saga
    return str(saga["status"])


def _wait_status(server: ServerProcess, saga_id: str, status: str) -> float:
    """When it came to this status, on our clock; a time too late when it did not."""
    wait_until(lambda: _status(server, saga_id) == status, TIMEOUT_S + 2 * SLACK_S)
    return time.monotonic()
