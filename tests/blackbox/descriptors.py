"""More clients than file descriptors: the server may have 64, and clients open hundreds of connections.

While they hold on, the sagas that are under way need connections to their services and the journal needs
files. When they have gone, the server serves as before; nothing was lost, and it did not end.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import time

from blackbox.campaign import Bounds
from blackbox.customer import CUT, Customer
from blackbox.forks import make_place
from blackbox.kills import complain, judge_at_rest
from blackbox.processes import Broken, ServerProcess, System, running, verify, wait_until
from blackbox.wishes import WishLedger

DESCRIPTORS = 64
CLIENTS = 300
HOLD_S = 4.0
HEAL_S_MAX = 30.0
LIMITS = "segmentBytes = 4096\nsnapshotEveryBytes = 131072"


def few() -> None:
    """In the server's process, before it begins."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


def run(bounds: Bounds) -> None:
    """Storm the server `bounds.count` times."""
    place = make_place(bounds.root / f"descriptors-{bounds.seed}")
    wishes = WishLedger(place.wishes)
    with running(place, limits=LIMITS, service="maxConcurrency = 8") as system:
        server = system.start(prepare=few)
        server.wait_ready()
        try:
            while not bounds.is_over:
                _round(bounds, system, wishes, f"d{bounds.seed}-{bounds.findings.count}")
                bounds.done()
            if (code := server.end()) != 0:
                bounds.findings.blame(place.root.name, [f"the server ended with {code}"])
        except Broken as error:
            bounds.findings.blame(place.root.name, [str(error)])
    bounds.findings.blame(place.root.name, verify(place.data))
    complain(bounds, place)


def _round(bounds: Bounds, system: System, wishes: WishLedger, name: str) -> None:
    """Open connections while a client works, hold them, let go."""
    server = system.server
    assert server is not None, "it was started"
    with Customer(server, wishes, f"{name}-before") as customer:
        customer.join(0.5)
        with contextlib.ExitStack() as held:
            opened = _storm(server, held)
            customer.join(HOLD_S)
    bounds.findings.add("connections", opened)
    bounds.findings.add("cut off", customer.cuts)
    faults = list(customer.refused)
    if server.process.poll() is not None:
        raise Broken(f"the server ended with {server.process.poll()}")
    if not wait_until(lambda: _is_well(server), HEAL_S_MAX):
        faults.append(f"not well {HEAL_S_MAX:g} s after the clients have gone")
    bounds.findings.blame(name, faults)
    judge_at_rest(bounds, system, name)


def _storm(server: ServerProcess, held: contextlib.ExitStack) -> int:
    """Open connections, of which some send half a request, until none is accepted any more."""
    until_s = time.monotonic() + 2.0
    for at in range(CLIENTS):
        client = held.enter_context(socket.socket())
        client.settimeout(0.2)
        try:
            client.connect(("127.0.0.1", server.port))
            client.sendall(b"GET /api/sagas HTTP/1.1\r\nHost: localhost\r\n"[: 10 + 30 * (at % 2)])
        except OSError:
            return at
        if time.monotonic() > until_s:
            return at
    return CLIENTS


def _is_well(server: ServerProcess) -> bool:
    try:
        return server.call("GET", "/api/sagas/health")[0] == 200
    except CUT:
        return False
