"""The show: what has happened to its sagas and its server so far, apart from how it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sagakeep.commands.demo_sagas import SAGAS, UNLUCKY, demo_sagas, saga_id_of
from sagakeep.commands.demo_server import DemoServer
from sagakeep.saga_status import FINAL

KILL_AFTER_STEPS: Final = 50  # done, of eighty: some sagas have ended, and most are in their midst

_IDLE: Final = ("pending", "completed", "compensated", "failed")


class Show:
    """A server and its sagas. `news` are the lines told so far; `sagas` is the last look, oldest first."""

    def __init__(self, server: DemoServer) -> None:
        self._server = server
        self.news: list[str] = []
        self.sagas: list[Any] = []
        self.kills = 0

    def begin(self, pace_s: float) -> None:
        """Start the server and post all sagas."""
        start = self._server.start()
        self.news.append(f"the server runs as process {start.pid}")
        documents = demo_sagas(pace_s)
        results = self._server.client.ask("POST", "/api/sagas/batch", documents).body["results"]
        begun = sum(one["status"] == 201 for one in results)
        self.news.append(f"{begun} sagas begin; {saga_id_of(UNLUCKY)} cannot be shipped")

    def look(self) -> None:
        """See how the sagas are, and tell what is new."""
        before = {saga["id"]: saga["status"] for saga in self.sagas}
        page = self._server.client.get("/api/sagas", limit=str(SAGAS))
        self.sagas = sorted(page["sagas"], key=lambda saga: str(saga["id"]))
        self.news += [
            line
            for saga in self.sagas
            for line in _changes(saga, before.get(saga["id"], "running"))
        ]

    def kill(self) -> None:
        """Kill the server with -9."""
        pid = self._server.kill()
        self.kills += 1
        flying = [saga["id"] for saga in self.sagas if any(map(_in_flight, saga["steps"]))]
        self.news.append(
            f"kill -9 {pid}: the server is dead, and {len(flying)} sagas had a call in flight"
        )

    def come_back(self) -> None:
        """Start the server again and tell what it recovered."""
        start = self._server.start()
        ended = {saga["id"] for saga in self.sagas if saga["status"] in FINAL}
        self.look()
        known = sum(saga["id"] in ended and saga["status"] in FINAL for saga in self.sagas)
        self.news.append(
            f"process {start.pid} read the journal in {start.seconds:.1f} s, start of Python and all:"
            f" {start.recovered} sagas in their midst were recovered and go on,"
            f" {known} of {len(ended)} that had ended are as they were"
        )

    @property
    def steps_done(self) -> int:
        return sum(len(saga["completedSteps"]) for saga in self.sagas)

    @property
    def is_over(self) -> bool:
        return bool(self.sagas) and all(saga["status"] in FINAL for saga in self.sagas)

    def summary(self) -> str:
        """How it stands, in one line."""
        counts = {
            status: sum(saga["status"] == status for saga in self.sagas)
            for status in ("completed", "compensated")
        }
        rest = len(self.sagas) - sum(counts.values())
        words = [f"{count} {status}" for status, count in counts.items()]
        killed = f"{self.kills} kill{'' if self.kills == 1 else 's'}"
        return f"{', '.join(words)}, {rest} under way; {killed}, {SAGAS - len(self.sagas)} lost"


def _in_flight(step: Any) -> bool:
    return step["status"] not in _IDLE


def _changes(saga: Any, before: str) -> Iterator[str]:
    """What is told of a saga whose status was `before`."""
    status = saga["status"]
    if status == before:
        return
    if before == "running" and status in ("compensating", "compensated"):
        failed = ", ".join(saga["failedSteps"])
        yield f"{saga['id']}: {failed} was refused, so what was done is undone, last first"
    if status in FINAL:
        yield f"{saga['id']}: {status}"
