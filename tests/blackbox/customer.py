"""The client of a whole server: a thread that posts, undoes, retries and deletes, and keeps a ledger of it."""

from __future__ import annotations

import http.client
import json
import random
import select
import threading
from types import TracebackType

from blackbox import orders
from blackbox.judge import Final
from blackbox.processes import Broken, ServerProcess, wait_until
from blackbox.wishes import Wish, WishLedger, is_told

CUT = (OSError, http.client.HTTPException, json.JSONDecodeError)  # the server is being killed
CUT_PAUSE_S = 0.02
TURNED_AWAY = (429, 503)  # later, perhaps
MOVES = {
    "compensate": ("PUT", "/compensate"),
    "retry": ("POST", "/retry"),
    "delete": ("DELETE", ""),
}


class Customer(threading.Thread):
    """Asks one thing after another of a server, and repeats what was cut off; so does the next customer."""

    def __init__(
        self,
        server: ServerProcess,
        wishes: WishLedger,
        name: str,
        *,
        timeout_s: float = 60.0,
        pace_s: float = 0.0,
    ) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._wishes = wishes
        self._name = name
        self._draw = random.Random(name)
        self._timeout_s = timeout_s
        self._pace_s = pace_s
        self._enough = threading.Event()
        self.refused: list[str] = []  # answers that nobody expects
        self.unavailable = 0
        self.cuts = 0

    def __enter__(self) -> Customer:
        self.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._enough.set()
        self.join(120)

    def run(self) -> None:
        while not self._enough.is_set():
            try:
                self._ask()
            except CUT:
                self.cuts += 1
                select.select([], [], [], CUT_PAUSE_S)

    def _ask(self) -> None:
        """Repeat what was cut off, then ask for more until it is cut off again."""
        self._repeat_open()
        while not self._enough.is_set():
            self._ask_something()
            if self._pace_s:
                select.select([], [], [], self._pace_s)

    def _repeat_open(self) -> None:
        for wish in self._wishes.open_creates():
            self.create(wish)

    def _ask_something(self) -> None:
        known = self._wishes.known()[-200:]
        chance = self._draw.random()
        if chance < 0.75 or not known:
            at = len(self._wishes.wishes)
            self.create(self._wishes.ask(f"{self._name}-{at}", "create"))
        elif chance < 0.8:
            self.create(self._draw.choice(known))
        else:
            verb = self._draw.choice(("compensate", "retry", "retry", "delete"))
            if verb != "delete" or self._draw.random() < 0.3:
                self._move(self._draw.choice(known), verb)

    def create(self, wish: Wish) -> None:
        """Post an order, perhaps again."""
        document = orders.order(wish.order, timeout_s=self._timeout_s)
        status, headers, saga = self._server.call("POST", "/api/sagas", document, key=wish.order)
        if status in TURNED_AWAY:
            self.unavailable += 1
            if "retry-after" not in headers:
                self.refused.append(f"{wish.order}: a {status} without Retry-After")
            return
        if status not in (200, 201) or not isinstance(saga, dict):
            self.refused.append(f"{wish.order}: {status} {saga}")
            return
        if status == 201 and is_told(wish):
            self.refused.append(f"{wish.order}: created twice, the second time as {saga['id']}")
        self._wishes.answer(wish, "yes", str(saga["id"]))

    def _move(self, create: Wish, verb: str) -> None:
        method, path = MOVES[verb]
        wish = self._wishes.ask(create.order, verb, create.saga)
        status, _, body = self._server.call(method, f"/api/sagas/{create.saga}{path}")
        if status not in (202, 204, 404, 409, *TURNED_AWAY):
            self.refused.append(f"{verb} {create.saga}: {status} {body}")
        if not _is_in_doubt(body):
            self._wishes.answer(wish, "yes" if status in (202, 204) else str(status))


def _is_in_doubt(body: object) -> bool:
    """Does the server say that it does not know whether it did it?"""
    return isinstance(body, dict) and str(body.get("type", "")).endswith("#in-doubt")


def read_finals(server: ServerProcess, seconds: float) -> list[Final]:
    """Wait until every saga stands still, and list all, page by page."""
    if not wait_until(lambda: not _moving(server), seconds):
        raise Broken(f"sagas do not come to rest in {seconds:g} s: {_moving(server)}")
    finals: list[Final] = []
    cursor = ""
    while True:
        status, _, page = server.call("GET", f"/api/sagas?limit=500{cursor}")
        if status != 200 or not isinstance(page, dict):
            raise Broken(f"the list is a {status}: {page}")
        for saga in page["sagas"]:
            finals.append(Final(saga["id"], saga["tags"]["order"], saga["status"], 0))
        if not page["nextCursor"]:
            return finals
        cursor = f"&cursor={page['nextCursor']}"


def _moving(server: ServerProcess) -> int:
    """How many sagas do not stand still."""
    status, _, told = server.call("GET", "/api/sagas/stats")
    if status != 200 or not isinstance(told, dict):
        raise Broken(f"the statistics are a {status}: {told}")
    return sum(count for name, count in told["byStatus"].items() if name not in orders.STILL)
