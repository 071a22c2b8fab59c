"""Kill and fault the whole server at the n-th system call, by strace; n is drawn.

As `syscalls`, with `sagakeep serve`, services and a client in processes of their own. A server whose journal
fails has to end by itself, with exit code 1 and without a trace of an exception; after each fault it starts
again, and the judge compares the ledgers.
"""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

from blackbox.campaign import Bounds
from blackbox.customer import Customer
from blackbox.forks import make_place
from blackbox.kills import audit, complain
from blackbox.processes import Broken, ServerProcess, System, running, verify, wait_until
from blackbox.syscalls import Fault, is_injected
from blackbox.wishes import WishLedger

FAULTS = tuple(
    Fault(call, what)
    for call in ("pwrite64", "fdatasync", "fsync", "rename", "fallocate", "ftruncate")
    for what in ("signal=KILL", "error=EIO", "error=ENOSPC")
)
NUMBER_MAX = {"pwrite64": 120, "fdatasync": 60, "fsync": 12}
LIFE_S = 2.0
LIMITS = "segmentBytes = 8192\nsnapshotEveryBytes = 32768"


def run(bounds: Bounds) -> None:
    """Inject `bounds.count` faults."""
    if shutil.which("strace") is None:
        bounds.findings.skipped = "strace is not installed"
        return
    draw = random.Random(bounds.seed)
    place = make_place(bounds.root / f"server-{bounds.seed}")
    wishes = WishLedger(place.wishes)
    with running(place, limits=LIMITS) as system:
        try:
            while not bounds.is_over:
                fault = FAULTS[bounds.findings.count % len(FAULTS)]
                number = draw.randint(1, NUMBER_MAX.get(fault.call, 4))
                name = f"v{bounds.seed}-{bounds.findings.count}"
                _round(bounds, system, wishes, name, fault, number)
                bounds.done()
                audit(bounds, system, name)
        except Broken as error:
            bounds.findings.blame(place.root.name, [str(error)])
    bounds.findings.blame(place.root.name, verify(place.data))
    complain(bounds, place)


def _round(
    bounds: Bounds, system: System, wishes: WishLedger, name: str, fault: Fault, number: int
) -> None:
    """One life of a server with a fault."""
    trace = system.place.root / "strace"
    trace.write_text("")
    server = system.start(wrapper=_wrapper(trace, fault, number))
    try:
        is_ready = server.wait_ready()
    except Broken:
        is_ready = False  # the fault came first
    if is_ready:
        with Customer(server, wishes, name) as customer:
            wait_until(lambda: server.process.poll() is not None, LIFE_S)
            code = _end(server)
        bounds.findings.blame(name, customer.refused)
    else:
        code = _end(server)
    came = is_injected(trace.read_text(errors="replace"))
    bounds.findings.add({True: f"ended with {code}", False: "did not come so far"}[came])
    if code not in (-signal.SIGKILL, 1):
        bounds.findings.blame(name, [f"{fault} {number}: the server ended with {code}"])


def _wrapper(trace: Path, fault: Fault, number: int) -> list[str]:
    """strace as a grandchild, so that the server is our own child."""
    inject = f"inject={fault.call}:{fault.what}:when={number}"
    return ["strace", "-D", "-f", "-o", str(trace), "-e", f"trace={fault.call}", "-e", inject]


def _end(server: ServerProcess) -> int:
    """Kill it if it has not ended by itself; return how it ended."""
    code = server.process.poll()
    return server.end(signal.SIGKILL) if code is None else code
