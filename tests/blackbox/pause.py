"""Pause whole processes: SIGSTOP for longer than every timeout, then SIGCONT.

In turn the services and the server are stopped while a client goes on asking. A stopped service answers late,
to attempts whose time is up; a stopped server finds on waking that all of its timers are due at once.
"""

from __future__ import annotations

import random
import signal
import subprocess

from blackbox.campaign import Bounds
from blackbox.customer import Customer
from blackbox.forks import make_place
from blackbox.kills import complain, judge_at_rest
from blackbox.processes import Broken, System, pause, running, verify
from blackbox.wishes import WishLedger

TIMEOUT_S = 2.0  # of an attempt
PACE_S = 0.05  # between two wishes of the client


def run(bounds: Bounds) -> None:
    """Make `bounds.count` pauses of `bounds.pause_s`."""
    draw = random.Random(bounds.seed)
    place = make_place(bounds.root / f"pause-{bounds.seed}")
    wishes = WishLedger(place.wishes)
    with running(place) as system:
        server = system.start()
        server.wait_ready()
        try:
            while not bounds.is_over:
                name = f"p{bounds.seed}-{bounds.findings.count}"
                _round(bounds, system, wishes, name, draw)
                bounds.done()
        except Broken as error:
            bounds.findings.blame(place.root.name, [str(error)])
        if (code := server.end()) != 0:
            bounds.findings.blame(place.root.name, [f"the server ended with {code}"])
    bounds.findings.add("wishes", len(wishes.wishes))
    bounds.findings.blame(place.root.name, verify(place.data))
    complain(bounds, place)


def _round(
    bounds: Bounds,
    system: System,
    wishes: WishLedger,
    name: str,
    draw: random.Random,
) -> None:
    """Stop one process, or both services, and let it go on."""
    assert system.server is not None, "it was started"
    services = [service.process for service in system.services.values()]
    choices: list[list[subprocess.Popen[bytes]]] = [
        [system.server.process],
        services,
        services[:1],
        [*services, system.server.process],
    ]
    stopped = choices[bounds.findings.count % len(choices)]
    with Customer(system.server, wishes, name, timeout_s=TIMEOUT_S, pace_s=PACE_S) as customer:
        pause(draw.uniform(0.5, 1.5))
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        pause(bounds.pause_s)
        for process in stopped:
            process.send_signal(signal.SIGCONT)
        pause(1.0)
    bounds.findings.blame(name, customer.refused)
    judge_at_rest(bounds, system, name, late=True)
