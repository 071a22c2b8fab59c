"""Kill the whole server: `sagakeep serve`, two services in other processes, a client with its own ledger.

SIGKILL comes at a random instant up to two seconds after the start, so also while it recovers, or after it is
ready. One directory grows over all cycles. Every `AUDIT_EVERY` cycles the dead directory is examined, the
sagas may come to rest, and the judge compares all ledgers; at the very end `sagakeep verify` reads all of it
once more.
"""

from __future__ import annotations

import random
import signal
import time

from blackbox.autopsy import examine
from blackbox.campaign import Bounds
from blackbox.customer import CUT, Customer, read_finals
from blackbox.deeds import read_deeds
from blackbox.forks import make_place
from blackbox.judge import judge
from blackbox.life import Place
from blackbox.processes import Broken, ServerProcess, System, running, verify
from blackbox.wishes import WishLedger, last_words

AUDIT_EVERY = 25
KILL_S_MAX = 2.0
REST_S_MAX = 120.0


def run(bounds: Bounds) -> None:
    """Kill the server `bounds.count` times."""
    draw = random.Random(bounds.seed)
    place = make_place(bounds.root / f"kills-{bounds.seed}")
    wishes = WishLedger(place.wishes)
    with running(place, limits="segmentBytes = 1048576\nsnapshotEveryBytes = 2097152") as system:
        try:
            while not bounds.is_over:
                name = f"k{bounds.seed}-{bounds.findings.count}"
                _cycle(bounds, system, wishes, name, draw)
                bounds.done()
                if bounds.findings.count % AUDIT_EVERY == 0 or bounds.is_over:
                    audit(bounds, system, name)
        except Broken as error:
            bounds.findings.blame(place.root.name, [str(error)])
        bounds.findings.add("wishes", len(wishes.wishes))
        bounds.findings.add("deeds", len(read_deeds(place.ledgers)))
    bounds.findings.blame(place.root.name, verify(place.data))
    complain(bounds, place)


def _cycle(
    bounds: Bounds, system: System, wishes: WishLedger, name: str, draw: random.Random
) -> None:
    """One life of a server and its end; half of the time the clock runs from the start, half from ready."""
    while_starting = draw.random() < 0.3
    life_s = draw.uniform(0.2, KILL_S_MAX)
    until_s = time.monotonic() + life_s
    server = system.start()
    if server.wait_ready(life_s if while_starting else 60.0):
        bounds.findings.add("ready")
        bounds.findings.add("recovered", server.recovered)
        if not while_starting:
            until_s = time.monotonic() + draw.uniform(0, KILL_S_MAX)
        with Customer(server, wishes, name) as customer:
            customer.join(max(0.0, until_s - time.monotonic()))
            _kill(bounds, server, name)
        bounds.findings.blame(name, customer.refused)
    else:
        _kill(bounds, server, name)


def _kill(bounds: Bounds, server: ServerProcess, name: str) -> None:
    code = server.end(signal.SIGKILL)
    if code != -signal.SIGKILL:
        bounds.findings.blame(name, [f"the server had ended with {code} before it was killed"])


def audit(bounds: Bounds, system: System, name: str, *, late: bool = False) -> None:
    """Examine the dead directory, start once more, let all come to rest, and judge."""
    place = system.place
    wishes, deeds = last_words(place.wishes), read_deeds(place.ledgers)
    if (place.data / "FORMAT").exists():
        bounds.findings.blame(name, examine(str(place.data), wishes, deeds))
    server = system.start()
    if not server.wait_ready():
        raise Broken("the server is not ready in a minute")
    judge_at_rest(bounds, system, name, late=late)
    if (code := server.end()) != 0:
        bounds.findings.blame(name, [f"at SIGTERM the server ended with {code}"])


def judge_at_rest(bounds: Bounds, system: System, name: str, *, late: bool = False) -> None:
    """Let all sagas come to rest, and judge."""
    assert system.server is not None, "it was started"
    place = system.place
    try:
        finals = read_finals(system.server, REST_S_MAX)
    except CUT as error:
        raise Broken(f"the server is gone: {error!r}") from error
    wishes, deeds = last_words(place.wishes), read_deeds(place.ledgers)
    bounds.findings.blame(name, judge(finals, wishes, deeds, late=late))
    bounds.findings.add("audits")
    bounds.findings.numbers["sagas"] = len(finals)


def complain(bounds: Bounds, place: Place) -> None:
    """The log of a server that was only killed has no trace of an exception."""
    text = place.log.read_text(errors="replace")
    if "Traceback" in text:
        at = text.index("Traceback")
        bounds.findings.blame(place.root.name, [f"in the log: {text[at : at + 2000]}"])
